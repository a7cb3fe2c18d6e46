#!/usr/bin/env python3
"""Checks what a schema can't: that the files in deploy/ agree with each other and with the programs.

    .ci/deploying/manifests.py PROGRAMS COMPOSE KUBERNETES…

PROGRAMS is the folder of server, gateway and sweeper. COMPOSE is compose.yaml as `docker compose config --format json`
prints it. KUBERNETES are the manifests that kustomize made.
"""

import json
import pathlib
import re
import subprocess
import sys

import yaml

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "deploy"
PROGRAMS = ("server", "gateway", "sweeper")
# What a server or gateway may take after SIGTERM, as docs/operating.md promises.
STOP_SECONDS = 25
LABELS = ("name", "instance", "component", "part-of", "managed-by")
FAULTS = []


def demand(holds, where, what):
    """Notes a fault unless the demand holds."""
    if not holds:
        FAULTS.append(f"{where}: {what}")


def settings_of(folder, program):
    """Lists the environment variables that a program's --help names."""
    calls = [[program, "--help"]] + ([["sweeper", "audit", "--help"]] if program == "sweeper" else [])
    texts = [subprocess.run([folder / call[0], *call[1:]], check=True, stdout=subprocess.PIPE, text=True).stdout for call in calls]
    return set(re.findall(r"\[env: (\w+)", "".join(texts)))


class Settings:
    """The settings of the programs, to tell a misspelt one."""

    def __init__(self, folder):
        self.known = {program: settings_of(pathlib.Path(folder), program) for program in PROGRAMS}

    def check(self, where, program, names):
        demand(program in self.known, where, f"runs {program}, which is no program of the project")
        for name in names:
            known = self.known.get(program, ())
            demand(name in known or name.startswith("OTEL_") or name == "RUST_LOG", where, f"{program} has no setting {name}")


def program_of(command):
    """Finds which program a command line runs, also in a shell's script."""
    found = [word for word in re.findall(r"[\w/.-]+", " ".join(command)) if pathlib.PurePath(word).name in PROGRAMS]
    return pathlib.PurePath(found[0]).name if found else None


# --- compose.yaml -------------------------------------------------------------------------------------------------------


def check_compose(path, settings):
    compose = json.loads(pathlib.Path(path).read_text())
    services = compose["services"]
    ours = {name: service for name, service in services.items() if service["image"].startswith("flashsale:")}
    wanted = {"migrate", "server-1", "server-2", "gateway-1", "gateway-2", "webhooks-1", "webhooks-2", "sweep", "audit"}
    demand(wanted <= set(ours), "compose.yaml", f"lacks {sorted(wanted - set(ours))}")
    built = {service["image"] for service in ours.values() if "build" in service}
    for name, service in ours.items():
        where = f"compose.yaml, {name}"
        environment = service.get("environment", {})
        settings.check(where, program_of(service["command"]), environment)
        demand(service["image"] in built, where, f"nothing builds {service['image']}")
        demand(service.get("read_only") and service.get("cap_drop") == ["ALL"], where, "is to be read-only and without capabilities")
        demand(seconds(service.get("stop_grace_period")) > STOP_SECONDS, where, f"stop_grace_period is to be over {STOP_SECONDS}s")
        secrets = {f"/run/secrets/{secret['target'].rsplit('/', 1)[-1]}" for secret in service.get("secrets", [])}
        named = {value for value in environment.values() if str(value).startswith("/run/secrets/")}
        demand(named == secrets, where, f"names the secret files {sorted(named)} and is given {sorted(secrets)}")
        demand(not {"DATABASE_URL", "FLASHSALE_WEBHOOK_SECRETS"} & set(environment), where, "has a secret in its environment")
    for name, service in services.items():
        for port in service.get("ports", []):
            demand(port.get("host_ip") == "127.0.0.1", f"compose.yaml, {name}", "publishes a port beyond loopback")
        for volume in service.get("volumes", []):
            there = volume["type"] != "bind" or pathlib.Path(volume["source"]).exists()
            demand(there, f"compose.yaml, {name}", f"mounts {volume.get('source')}, which isn't there")


def seconds(text):
    """Reads a duration of compose.yaml."""
    minutes, rest = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", text or "").groups()
    return int(minutes or 0) * 60 + int(rest or 0)


# --- Kubernetes -----------------------------------------------------------------------------------------------------------


def pod_of(resource):
    """Returns the pod that a resource makes, or None."""
    kind, spec = resource["kind"], resource.get("spec", {})
    if kind == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]
    return spec["template"] if kind in ("Deployment", "Job") else None


def selects(selector, labels):
    """Returns whether a selector of labels fits."""
    exactly = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    among = all(labels.get(term["key"]) in term["values"] for term in selector.get("matchExpressions", []))
    return exactly and among


def check_pod(where, pod, settings):
    labels, spec = pod["metadata"]["labels"], pod["spec"]
    for label in LABELS:
        demand(f"app.kubernetes.io/{label}" in labels, where, f"its pods lack the label app.kubernetes.io/{label}")
    security = spec["securityContext"]
    demand(security.get("runAsNonRoot") is True, where, "is to run as another user than root")
    demand(security.get("seccompProfile") == {"type": "RuntimeDefault"}, where, "is to have the default seccomp profile")
    demand(spec.get("automountServiceAccountToken") is False, where, "needs no token of Kubernetes")
    mounted = {volume["name"]: volume for volume in spec["volumes"]}
    for container in spec["containers"]:
        box = container["securityContext"]
        demand(box.get("allowPrivilegeEscalation") is False, where, "may gain privileges")
        demand(box.get("readOnlyRootFilesystem") is True, where, "may write to its image")
        demand(box.get("capabilities") == {"drop": ["ALL"]}, where, "has capabilities")
        demand("memory" in container["resources"]["limits"], where, "has no limit of memory")
        settings.check(where, program_of(container["command"]), [variable["name"] for variable in container["env"]])
        files = [
            f"{mount['mountPath']}/{item['path']}"
            for mount in container["volumeMounts"]
            for item in mounted[mount["name"]]["secret"]["items"]
        ]
        for variable in container["env"]:
            demand("valueFrom" not in variable, where, f"{variable['name']}: secrets are files")
            if variable["value"].startswith("/"):
                demand(variable["value"] in files, where, f"{variable['name']} names {variable['value']}, which no secret is")


def check_deployment(where, resource):
    spec, pod = resource["spec"], resource["spec"]["template"]["spec"]
    container = pod["containers"][0]
    demand(spec["replicas"] >= 2, where, "one alone can't be updated without a gap")
    demand(spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, where, "maxUnavailable is to be 0")
    waits = container["lifecycle"]["preStop"]["sleep"]["seconds"] + STOP_SECONDS
    demand(pod["terminationGracePeriodSeconds"] > waits, where, f"terminationGracePeriodSeconds is to be over {waits}")
    demand({"startupProbe", "livenessProbe", "readinessProbe"} <= set(container), where, "lacks a probe")
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        wanted = {"port": "metrics", "path": path}
        demand(container[probe].get("httpGet") == wanted, where, f"{probe} is to ask for {path} on the port metrics")


def check_references(path, resources):
    """Checks that what one resource says of another is so."""
    pods = [(resource, pod_of(resource)) for resource in resources if pod_of(resource)]
    accounts = {resource["metadata"]["name"] for resource in resources if resource["kind"] == "ServiceAccount"}
    for resource, pod in pods:
        demand(pod["spec"]["serviceAccountName"] in accounts, path, f"there is no account {pod['spec']['serviceAccountName']}")
    for resource in resources:
        where, spec = f"{path}, {resource['kind']} {resource['metadata']['name']}", resource.get("spec", {})
        if resource["kind"] == "Service":
            selector, ports = {"matchLabels": spec["selector"]}, [port["targetPort"] for port in spec["ports"]]
            demand(all("appProtocol" in port for port in spec["ports"]), where, "appProtocol is missing")
        elif resource["kind"] == "PodDisruptionBudget":
            selector, ports = spec["selector"], []
            demand(spec.get("unhealthyPodEvictionPolicy") == "AlwaysAllow", where, "keeps nodes from being drained")
        elif resource["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]
            ports = [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        else:
            continue
        selected = [pod for _, pod in pods if selects(selector, pod["metadata"]["labels"])]
        demand(selected, where, "selects no pod")
        for port in ports:
            for pod in selected:
                named = [own["name"] for container in pod["spec"]["containers"] for own in container.get("ports", [])]
                demand(port in named, where, f"names the port {port}, which a pod that it selects doesn't have")


def check_kubernetes(path, settings):
    resources = [resource for resource in yaml.safe_load_all(pathlib.Path(path).read_text()) if resource]
    name = pathlib.PurePath(path).stem
    kinds = [resource["kind"] for resource in resources]
    for kind, count in {"Deployment": 3, "PodDisruptionBudget": 3, "Job": 1, "CronJob": 2, "Secret": 0}.items():
        demand(kinds.count(kind) == count, name, f"has {kinds.count(kind)} of the kind {kind}, not {count}")
    for resource in resources:
        where = f"{name}, {resource['kind']} {resource['metadata']['name']}"
        if pod := pod_of(resource):
            check_pod(where, pod, settings)
        if resource["kind"] == "Deployment":
            check_deployment(where, resource)
        if resource["kind"] == "CronJob":
            demand(resource["spec"]["concurrencyPolicy"] == "Forbid", where, "concurrencyPolicy is to be Forbid")
            demand("activeDeadlineSeconds" in resource["spec"]["jobTemplate"]["spec"], where, "may hang for ever")
    check_references(name, resources)
    # Each pod is cut off by default, and what it may do is said.
    denied = [r for r in resources if r["kind"] == "NetworkPolicy" and r["spec"]["policyTypes"] == ["Ingress", "Egress"]]
    for resource in resources:
        if pod := pod_of(resource):
            labels = pod["metadata"]["labels"]
            shut = any(selects(r["spec"]["podSelector"], labels) for r in denied if not r["spec"].get("ingress"))
            demand(shut, name, f"no policy denies by default what {resource['metadata']['name']} may do")


# --- All files ------------------------------------------------------------------------------------------------------------


def check_exposure():
    """Demands that nothing in deploy/ lets strangers in on purpose."""
    for path in sorted(path for path in DEPLOY.rglob("*") if path.is_file() and "secrets" not in path.parts):
        text = path.read_text(errors="replace")
        opened = re.search(r"FLASHSALE_INSECURE\W+(?:value\W+)?true|--insecure\b(?!=false)", text, re.I)
        demand(not opened, path.relative_to(DEPLOY), "FLASHSALE_INSECURE is true: set up TLS and principals")


# --- systemd and cron -----------------------------------------------------------------------------------------------------


def check_units(settings):
    users = {}
    for path in sorted((DEPLOY / "systemd").glob("*.service")):
        text = path.read_text()
        program = program_of([re.search(r"^ExecStart=(.*)$", text, re.M)[1]])
        settings.check(path.name, program, re.findall(r"^Environment=(\w+)=", text, re.M))
        user = re.search(r"^User=(.*)$", text, re.M)[1]
        demand(user not in users, path.name, f"has the user of {users.get(user)}")
        users[user] = path.name
        handed = set(re.findall(r"^LoadCredential=(\w+):", text, re.M))
        named = set(re.findall(r"^Environment=\w+_FILE=%d/(\w+)$", text, re.M))
        demand(handed and handed == named, path.name, f"hands on {sorted(handed)} and names {sorted(named)}")
        timed = path.with_suffix(".timer").exists()
        demand(timed == ("Type=oneshot" in text), path.name, "what ends by itself has a timer, and nothing else has one")


def check_cron(settings):
    field = r"(?:\*|\d+)"
    for number, line in enumerate((DEPLOY / "flashsale.cron").read_text().splitlines(), 1):
        where = f"flashsale.cron:{number}"
        line = re.sub(r"^# (?=\d)", "", line) # a job that is commented out has to be right as well
        if variable := re.fullmatch(r"(\w+)=(.+)", line):
            if variable[1] != "MAILTO":
                settings.check(where, "sweeper", [variable[1]])
        elif line and not line.startswith("#"):
            job = re.fullmatch(rf"(?:{field} ){{5}}flashsale-(?:sweeper|audit|purge) (/opt/flashsale/bin/sweeper\b[^%]*)", line)
            demand(job, where, "is no line that cron understands")


def main():
    programs, compose, *kubernetes = sys.argv[1:]
    settings = Settings(programs)
    check_compose(compose, settings)
    for path in kubernetes:
        check_kubernetes(path, settings)
    check_units(settings)
    check_cron(settings)
    check_exposure()
    for fault in FAULTS:
        print(fault)
    print(f"compose.yaml, {len(kubernetes)} sets of manifests, units and crontab: {len(FAULTS)} faults")
    sys.exit(1 if FAULTS else 0)


main()
