#!/usr/bin/env python3
"""Runs the shop of deploy/compose.yaml without containers, and buys through haproxy, Envoy and nginx.

    unshare --net --mount .ci/deploying/shop.py COMPOSE FOLDER

COMPOSE is compose.yaml as `docker compose config --format json` prints it. FOLDER takes data and logs; it is emptied
first. Each service is a process with the command, the environment and the secrets that compose.yaml gives it, on a host
of its own with the name that compose.yaml gives it. The configurations of proxies, database and Prometheus are used as
they stand. Servers and gateways run as the user of the image, without any capability.

Environment: SERVER, GATEWAY and SWEEPER are the programs' paths, DATABASE_SERVER is mysqld or mariadbd and DATABASE_ENGINE
says which, and HAPROXY, ENVOY, NGINX and PROMETHEUS are the other programs, empty where there is none. NGINX_MODULES is
what nginx is told first. What isn't there is named in a line with !!!, and the exit code is 3.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request

import calls
import network

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
# Each program of the service, and the variable that says where it is.
PROGRAMS = {"server": "SERVER", "gateway": "GATEWAY", "sweeper": "SWEEPER"}
IMAGE_USER = "65532"
READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 30
NOT_TESTED = 3
SERVERS, GATEWAYS = ("server-1", "server-2"), ("gateway-1", "gateway-2", "webhooks-1", "webhooks-2")
# Calls that a proxy may lose while all servers and gateways are restarted once. nginx asks nobody for health, so one may
# meet a connection that just ends.
FAILURES_MAX = {"haproxy": 0, "envoy": 0, "nginx": 5}
SLOWEST_SECONDS_MAX = 2.0


def wait_for(what, holds, seconds=READY_SECONDS_MAX):
    """Waits until a condition holds, and ends the program where it doesn't in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


class Shop:
    """The services of compose.yaml as processes."""

    def __init__(self, compose, folder):
        self.services, self.folder, self.processes = compose["services"], folder, {}
        self.secrets = {name: pathlib.Path(secret["file"]).read_text() for name, secret in compose["secrets"].items()}
        made = pathlib.Path(compose["secrets"]["ca"]["file"]).parent
        # What make-secrets made for callers: no container gets it.
        self.tokens = {name: (made / f"{name}_token").read_text() for name in ("checkout", "operator", "viewer")}
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # /run is this program's own from here on: a place where every user may read the programs and the secrets. So is
        # /var/lib, where nginx has a folder.
        for place in ("/run", "/var/lib"):
            network.run("mount", "-t", "tmpfs", "-o", "mode=755", "none", place)
        pathlib.Path("/var/lib/nginx").mkdir()
        for place in ("programs", "secrets"):
            pathlib.Path("/run", place).mkdir()
        for program, variable in PROGRAMS.items():
            shutil.copy(os.environ[variable], f"/run/programs/{program}")
        for name, text in self.secrets.items():
            pathlib.Path("/run/secrets", name).write_text(text)
        # Envoy and nginx take the place of haproxy, and want the two halves of its secret.
        for half in ("proxy_certificate", "proxy_key"):
            pathlib.Path("/run/secrets", half).write_text((made / half).read_text())
        self.network = network.Network(self.services)

    def address(self, name):
        return self.network.addresses[name]

    def log(self, name):
        return self.folder / f"{name}.log"

    def start(self, name, command, environment=None, host=None):
        """Starts a command on the host of a service, which is its own unless another is said."""
        own = {"PATH": "/run/programs:/usr/sbin:/usr/bin:/sbin:/bin", **(environment or {})}
        with self.log(name).open("ab") as log:
            started = [*self.network.on(host or name), "setpriv", "--pdeathsig", "KILL", *command]
            self.processes[name] = subprocess.Popen(
                started, env=own, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def start_service(self, name):
        """Starts a service of the image as its container would."""
        service = self.services[name]
        confined = ("--reuid", IMAGE_USER, "--regid", IMAGE_USER, "--clear-groups", "--bounding-set", "-all", "--no-new-privs")
        command = ["sh" if word == "/busybox/sh" else word for word in service["command"]]
        self.start(name, [*confined, *command], service.get("environment"))

    def runs(self, name):
        """Returns true, or ends the program where a process has ended by itself."""
        calls.demand(self.processes[name].poll() is None, f"{name} has ended")
        return True

    def stop(self, name, limit=STOP_SECONDS_MAX, code=0):
        """Sends SIGTERM, and demands that the process ends in time with the exit code."""
        process = self.processes.pop(name)
        os.killpg(process.pid, signal.SIGTERM)
        ended = process.wait(limit)
        calls.demand(code is None or ended == code, f"{name} ended with {ended} after SIGTERM")

    def restart(self, name):
        self.stop(name)
        self.log(name).rename(self.folder / f"{name}.before.log")
        self.start_service(name)

    def mounted(self, name):
        """Returns the file of deploy/ that is the configuration of a service."""
        return next(volume["source"] for volume in self.services[name]["volumes"] if pathlib.Path(volume["source"]).is_file())

    def gateway_metrics(self, name):
        """Returns the page of metrics of a gateway, or nothing."""
        try:
            with urllib.request.urlopen(f"http://{self.address(name)}:9465/metrics", timeout=2) as page:
                return page.read().decode()
        except OSError:
            return ""

    def is_ready(self, name):
        """Returns whether a gateway says on its metrics address that it is ready."""
        try:
            with urllib.request.urlopen(f"http://{self.address(name)}:9465/readyz", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    # --- The database, which compose.yaml takes from MySQL's own image ----------------------------------------------------

    def start_database(self):
        data, server = self.folder / "data", os.environ["DATABASE_SERVER"]
        config = f"--defaults-file={self.mounted('mysql')}"
        if os.environ["DATABASE_ENGINE"] == "mysql":
            make, own = [server, config, "--initialize-insecure"], ["--mysqlx=OFF"]
        else:
            make, own = ["mariadb-install-db", "--no-defaults", "--skip-test-db"], []
        with self.log("mysql-made").open("wb") as log:
            subprocess.run([*make, "--user=root", f"--datadir={data}"], check=True, stdout=log, stderr=log)
        wanted = self.services["mysql"]["environment"]
        statements = self.folder / "accounts.sql"
        statements.write_text(
            f"CREATE DATABASE {wanted['MYSQL_DATABASE']};\n"
            f"CREATE USER '{wanted['MYSQL_USER']}'@'%' IDENTIFIED BY '{self.secrets['database_password']}';\n"
            f"GRANT ALL ON {wanted['MYSQL_DATABASE']}.* TO '{wanted['MYSQL_USER']}'@'%';\n"
        )
        self.start("mysql", [
            server, config, "--user=root", f"--datadir={data}", "--socket=/run/database.sock", f"--init-file={statements}",
            "--bind-address=0.0.0.0", "--port=3306", "--innodb-buffer-pool-size=256M", *self.services["mysql"]["command"], *own,
        ])
        wait_for("the database", lambda: "ready for connections" in self.log("mysql").read_text())

    # --- The proxies --------------------------------------------------------------------------------------------------------

    def proxy_command(self, name):
        """Returns the command that runs a proxy with its configuration of deploy/proxies, or None where it isn't here."""
        if not os.environ.get(name.upper()):
            return None
        return {
            "haproxy": [os.environ["HAPROXY"], "-W", "-db", "-f", self.mounted("haproxy")],
            "envoy": [os.environ["ENVOY"], "--log-level", "warn", "--config-path", f"{DEPLOY}/proxies/envoy.yaml"],
            "nginx": [
                os.environ["NGINX"], "-e", "stderr", "-g", f"{os.environ['NGINX_MODULES']} daemon off;",
                "-c", f"{DEPLOY}/proxies/nginx.conf",
            ],
        }[name]

    def is_up(self, name):
        """Returns whether haproxy says on its page of metrics that a server or gateway is up, as docs/deploying.md asks it."""
        try:
            with urllib.request.urlopen(f"http://{self.address('haproxy')}:8404/metrics", timeout=2) as page:
                return f'server="{name}",state="UP"}} 1' in page.read().decode()
        except OSError:
            return False

    def start_prometheus(self):
        service = self.services["prometheus"]
        rules = next(volume["source"] for volume in service["volumes"] if volume["target"] == "/etc/prometheus/flashsale")
        config = self.folder / "prometheus.yml"
        text = pathlib.Path(self.mounted("prometheus")).read_text()
        config.write_text(text.replace("/etc/prometheus/flashsale", rules))
        self.start("prometheus", [
            os.environ["PROMETHEUS"], f"--config.file={config}", f"--storage.tsdb.path={self.folder}/prometheus",
        ])

    def ask_prometheus(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.address('prometheus')}:9090/api/v1/{path}", timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def scraped(self):
        """Returns whether Prometheus reads every target of its configuration."""
        found = self.ask_prometheus("targets")
        return bool(found and found["activeTargets"]) and all(target["health"] == "up" for target in found["activeTargets"])


def answered(shop, name):
    """Returns whether a server or gateway has answered a call of the load since it was started."""
    if name.startswith("server"):
        return "Hold created" in shop.log(name).read_text()
    route = "/api/products/{id}" if name.startswith("gateway") else "/api/payments/webhook"
    return f'http_route="{route}"' in shop.gateway_metrics(name)


def try_proxy(shop, name):
    """Buys through a proxy, restarts all behind it under load, and reports what failed."""
    shop.start(name, shop.proxy_command(name), host="haproxy")
    proxy = calls.Proxy("haproxy", "server-1", shop.secrets, shop.tokens)
    wait_for(f"{name} to reach a server and a gateway", lambda: shop.runs(name) and proxy.is_ready())
    product = proxy.create_product(f"sold through {name}", 1_000_000)
    paid = proxy.check(product)
    with calls.Load(proxy, product, paid) as load:
        for restarted in (*SERVERS, *GATEWAYS):
            shop.restart(restarted)
            wait_for(f"a call at {restarted} through {name}", lambda: answered(shop, restarted))
            # A gateway that has just lost its connection to one server isn't to meet the next one on its way out.
            for gateway in GATEWAYS:
                wait_for(f"{gateway} to be ready after {restarted}", lambda: shop.is_ready(gateway))
    shop.stop(name, code=None)
    failed = len(load.failures)
    print(f"{name}: {load.calls} calls while all were restarted, {failed} failed, the slowest took {load.slowest_seconds:.2f} s")
    for failure in sorted(set(load.failures))[:5]:
        print(f"  {failure}")
    calls.demand(not load.given_up, f"{name}: {load.given_up}")
    calls.demand(failed <= FAILURES_MAX[name], f"{name}: {failed} calls failed")
    calls.demand(load.slowest_seconds < SLOWEST_SECONDS_MAX, f"{name}: a call took {load.slowest_seconds:.2f} s")


def run(shop, missing):
    """Starts the services in the order of compose.yaml, and tries what they are for."""
    shop.start_database()
    shop.start_service("migrate")
    calls.demand(shop.processes.pop("migrate").wait(READY_SECONDS_MAX) == 0, "server migrate failed")
    for name in (*SERVERS, *GATEWAYS, "sweep", "audit"):
        shop.start_service(name)
    if os.environ.get("PROMETHEUS"):
        shop.start_prometheus()
    for name in ("nginx", "envoy", "haproxy"):
        if shop.proxy_command(name):
            try_proxy(shop, name)
        else:
            missing.append(f"Calls through {name}")
    if os.environ.get("PROMETHEUS") and os.environ.get("HAPROXY"):
        shop.start("haproxy", shop.proxy_command("haproxy"))
        for name in (*SERVERS, *GATEWAYS):
            wait_for(f"haproxy to say that {name} is up", lambda: shop.is_up(name))
        wait_for("Prometheus to read all targets", shop.scraped)
        groups = shop.ask_prometheus("rules")["groups"]
        faults = [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "err"]
        calls.demand(groups and not faults, f"these rules fail: {faults}")
        print(f"Prometheus reads all targets, and takes {sum(len(group['rules']) for group in groups)} rules")
        shop.stop("haproxy", code=None)
    else:
        missing.append("The targets of compose/prometheus.yml")
    wait_for("a sweep", lambda: '"holds_expired"' in shop.log("sweep").read_text())
    wait_for("an audit", lambda: "Audit done" in shop.log("audit").read_text())
    for name in (*GATEWAYS, *SERVERS):
        shop.stop(name)
    shop.stop("audit", code=None)
    shop.log("audit").write_text("")
    shop.start_service("audit")
    wait_for("an audit after the sale", lambda: "Audit done" in shop.log("audit").read_text())
    calls.demand("Audit finding" not in shop.log("audit").read_text(), "the audit found something")


def main():
    compose, folder = json.loads(pathlib.Path(sys.argv[1]).read_text()), pathlib.Path(sys.argv[2]).resolve()
    shop, missing = Shop(compose, folder), []
    try:
        run(shop, missing)
    except (AssertionError, subprocess.TimeoutExpired) as fault:
        print(fault)
        for name, process in shop.processes.items():
            if process.poll() is not None:
                print(f"{name} has ended with {process.returncode}; the last of its log:")
                print("\n".join(shop.log(name).read_text().splitlines()[-5:]))
        sys.exit(1)
    finally:
        for process in shop.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        shop.network.close()
    for what in missing:
        print(f"!!! {what} NOT TESTED: the program could not be had")
    sys.exit(NOT_TESTED if missing else 0)


main()
