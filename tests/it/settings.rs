//! Sets the programs' environment, and checks the exit code and the message.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{TcpListener, TcpStream},
    os::unix::ffi::OsStringExt,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use crate::support::wait;

const SERVER: &str = env!("CARGO_BIN_EXE_server");
const GATEWAY: &str = env!("CARGO_BIN_EXE_gateway");
const SWEEPER: &str = env!("CARGO_BIN_EXE_sweeper");
const URL: (&str, &str) = ("DATABASE_URL", "mysql://root@127.0.0.1:1/sale");
const UNSIGNED: (&str, &str) = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");

fn run(program: &str, env: &[(&str, &str)], args: &[&str]) -> Output {
    // A later pair replaces an earlier one.
    let env: BTreeMap<_, _> = env.iter().copied().collect();
    Command::new(program).env_clear().envs(env).args(args).stdin(Stdio::null()).output().unwrap()
}

/// Returns the one line of a program that refuses its settings.
fn refusal(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(output.stdout.is_empty(), "nothing on stdout");
    assert_eq!(stderr.lines().count(), 1, "one line: {stderr}");
    stderr
}

#[test]
fn a_bad_setting_ends_the_program_with_code_2_and_its_name() {
    let cases = [
        (SERVER, URL, "FLASHSALE_LISTEN", "--listen", &["", "here", "127.0.0.1"][..]),
        (SERVER, URL, "FLASHSALE_METRICS_LISTEN", "--metrics-listen", &["", "localhost:9464"]),
        (SERVER, URL, "FLASHSALE_HOLD_TTL", "--hold-ttl", &["", "0", "999ms", "31days", "120", "-1s"]),
        (SERVER, URL, "FLASHSALE_PAYMENT_DUE", "--payment-due", &["", "1ms", "366days", "never"]),
        (SERVER, URL, "FLASHSALE_DB_POOL_SIZE", "--db-pool-size", &["", "0", "-1", "1001", "x"]),
        (SERVER, URL, "FLASHSALE_LANE_QUEUE", "--lane-queue", &["", "0", "1.5"]),
        (SERVER, URL, "FLASHSALE_MAX_CALLS", "--max-calls", &["", "0", "-1", "1000001"]),
        (SERVER, URL, "FLASHSALE_MAX_CALL_RATE", "--max-call-rate", &["", "-1", "1.5", "1000001"]),
        (SERVER, URL, "FLASHSALE_DRAIN_DELAY", "--drain-delay", &["", "4001ms", "5s", "-1s"]),
        (SERVER, URL, "FLASHSALE_MAX_CONNECTION_AGE", "--max-connection-age", &["", "1ms", "never"]),
        (SERVER, URL, "FLASHSALE_MAX_CONNECTIONS", "--max-connections", &["", "0", "x"]),
        (SERVER, URL, "FLASHSALE_PRINCIPALS_FILE", "--principals-file", &["", "/no/such/file", "/dev/zero"]),
        (SERVER, URL, "FLASHSALE_ADMIN_LISTEN", "--admin-listen", &["", "here", "127.0.0.1"]),
        (SERVER, URL, "FLASHSALE_REFLECTION", "--reflection", &["", "true", "On"]),
        (SERVER, URL, "FLASHSALE_LOG_FORMAT", "--log-format", &["", "xml"]),
        (SERVER, URL, "DATABASE_URL", "--database-url", &["", "x", "postgres://h/d", "mysql://h"]),
        (
            SERVER,
            URL,
            "DATABASE_URL",
            "--database-url",
            &["mysql://[::1]/d?require_sl=true", "mysql://[::1]/d?require_ssl=x"],
        ),
        (SWEEPER, URL, "DATABASE_URL", "--database-url", &["mysql://[::1]/d?pool_min=2&pool_max=1"]),
        (SWEEPER, URL, "DATABASE_URL", "--database-url", &["mysql://[::1]/d?prefer_socket=true"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_GATEWAY_LISTEN", "--listen", &["", "8000"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_METRICS_LISTEN", "--metrics-listen", &["9465"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_SERVER_URL", "--server-url", &["", "127.0.0.1:50051", "http://", "http://h/p"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_GATEWAY_TIMEOUT", "--timeout", &["", "0", "6m"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_DRAIN_DELAY", "--drain-delay", &["", "5s"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_MAX_CONNECTIONS", "--max-connections", &["", "0"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "--webhook-allow-unsigned", &["", "1", "TRUE"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_WEBHOOK_SECRETS", "--webhook-secrets", &["", ",", "dG9vIHNob3J0"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_WEBHOOK_SECRETS_FILE", "--webhook-secrets-file", &["", "/no/such/file"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_GATEWAY_ROUTES", "--routes", &["", "none", "webhook,shop"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_STRIPE_SECRETS", "--stripe-secrets", &["", ",", "whsec_short"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_STRIPE_SECRETS_FILE", "--stripe-secrets-file", &["", "/no/such/file"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_PRINCIPALS_FILE", "--principals-file", &["", "/no/such/file"]),
        (SWEEPER, URL, "FLASHSALE_SWEEP_BATCH", "--batch", &["", "0", "10001"]),
        (SWEEPER, URL, "FLASHSALE_DB_POOL_SIZE", "--db-pool-size", &["0"]),
        (SERVER, URL, "FLASHSALE_TLS_CERT", "--tls-cert", &[""]),
        (SERVER, URL, "FLASHSALE_TLS_KEY", "--tls-key", &[""]),
        (GATEWAY, UNSIGNED, "FLASHSALE_TLS_CLIENT_CA", "--tls-client-ca", &[""]),
        (SERVER, URL, "FLASHSALE_INSECURE", "--insecure", &["", "1"]),
        (GATEWAY, UNSIGNED, "FLASHSALE_INSECURE", "--insecure", &["yes"]),
        (SWEEPER, URL, "FLASHSALE_INSECURE", "--insecure", &["", "TRUE"]),
        (SWEEPER, ("", ""), "DATABASE_URL_FILE", "--database-url-file", &["", "/no/such/file"]),
    ];
    for (program, needed, name, flag, values) in cases {
        for value in values {
            let needed: Vec<_> = [needed, (name, *value)].into_iter().filter(|(name, _)| !name.is_empty()).collect();
            let line = refusal(&run(program, &needed, &[]));
            assert!(line.starts_with(&format!("bad setting: {name} ({flag}) ")), "{name}={value}: {line}");
        }
    }
    let migrate = refusal(&run(SERVER, &[], &["migrate"]));
    assert!(migrate.contains("DATABASE_URL (--database-url) is required"), "{migrate}");
    let gateway = refusal(&run(GATEWAY, &[], &[]));
    assert!(gateway.contains("FLASHSALE_WEBHOOK_SECRETS") && gateway.contains("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED"));
}

#[test]
fn a_purge_has_to_be_told_after_which_time() {
    let missing = refusal(&run(SWEEPER, &[URL], &["purge"]));
    assert!(missing.contains("FLASHSALE_PURGE_AFTER (--after) is required"), "{missing}");
    for value in ["", "0", "23h", "11years", "soon"] {
        for (env, args) in [
            (&[URL, ("FLASHSALE_PURGE_AFTER", value)][..], &["purge", "--dry-run"][..]),
            (&[URL], &["purge", &format!("--after={value}")]),
        ] {
            let line = refusal(&run(SWEEPER, env, args));
            assert!(line.contains("FLASHSALE_PURGE_AFTER (--after)"), "{value}: {line}");
        }
    }
}

#[test]
fn the_standards_variables_are_checked_too() {
    let collector = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    for (env, named) in [
        (&[("RUST_LOG", "flashsale=loud")][..], "RUST_LOG "),
        (&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://no host")], "OTEL_EXPORTER_OTLP_ENDPOINT "),
        (&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "no host")], "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT "),
        (&[collector, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "OTEL_EXPORTER_OTLP_PROTOCOL "),
        (&[collector, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "udp")], "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL "),
        (
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "no host"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")],
            "OTEL_EXPORTER_OTLP_ENDPOINT ",
        ),
        (&[collector, ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s")], "OTEL_EXPORTER_OTLP_TIMEOUT "),
        (&[collector, ("OTEL_METRIC_EXPORT_INTERVAL", "0")], "OTEL_METRIC_EXPORT_INTERVAL "),
        (&[collector, ("OTEL_BSP_MAX_QUEUE_SIZE", "1000000000000000000")], "OTEL_BSP_MAX_QUEUE_SIZE "),
        (&[collector, ("OTEL_BSP_SCHEDULE_DELAY", "0")], "OTEL_BSP_SCHEDULE_DELAY "),
        (&[("OTEL_TRACES_SAMPLER", "sometimes")], "OTEL_TRACES_SAMPLER "),
    ] {
        let line = refusal(&run(SWEEPER, &[&[URL], env].concat(), &[]));
        assert!(line.starts_with(&format!("bad setting: {named}")), "{line}");
    }
}

#[test]
fn a_value_that_is_no_text_is_named() {
    let output = Command::new(SERVER)
        .env_clear()
        .env("FLASHSALE_LISTEN", OsString::from_vec(vec![0xff, 0xfe]))
        .output()
        .unwrap();
    assert_eq!(refusal(&output).trim_end(), "bad setting: FLASHSALE_LISTEN (--listen) is not valid UTF-8");
}

#[test]
fn secrets_are_never_printed() {
    for (name, value) in [
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "mysql://u:hunter2@h"),
        ("DATABASE_URL", "http://u:hunter2@h/sale"),
        ("DATABASE_URL_FILE", "mysql://u:hunter2@h/sale"),
        ("DATABASE_URL_FILE", "hunter2"),
    ] {
        for program in [SERVER, SWEEPER] {
            assert!(!refusal(&run(program, &[(name, value)], &[])).contains("hunter2"), "{name}");
            let help = run(program, &[(name, value)], &["--help"]);
            assert!(!String::from_utf8(help.stdout).unwrap().contains("hunter2"));
        }
    }
    for (name, value) in [
        ("FLASHSALE_WEBHOOK_SECRETS", "whsec_hunter2"),
        ("FLASHSALE_STRIPE_SECRETS", "whsec_hunter2"),
        ("FLASHSALE_WEBHOOK_SECRETS_FILE", "hunter2"),
        ("FLASHSALE_STRIPE_SECRETS_FILE", "hunter2"),
        ("FLASHSALE_SERVER_URL", "http://u:hunter2@127.0.0.1:50051"),
        ("FLASHSALE_SERVER_URL", "hunter2"),
    ] {
        let secret = [UNSIGNED, (name, value)];
        assert!(!refusal(&run(GATEWAY, &secret, &[])).contains("hunter2"));
        assert!(!String::from_utf8(run(GATEWAY, &secret, &["--help"]).stdout).unwrap().contains("hunter2"));
    }
}

/// The warning is a log line, since the program starts all the same.
#[test]
fn a_secret_that_others_can_see_is_a_warning_at_start() {
    let url = "mysql://root:hunter2@127.0.0.1:1/sale";
    let by_flag = run(SWEEPER, &[], &["--database-url", url]);
    let by_variable = run(SWEEPER, &[("DATABASE_URL", url)], &[]);
    let said = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let warning = r#""message":"A secret is given by a flag, which every user sees in the list of processes","#;
    assert!(said(&by_flag).contains(warning), "{}", said(&by_flag));
    assert!(said(&by_flag).contains(r#""setting":"DATABASE_URL (--database-url)""#), "{}", said(&by_flag));
    assert!(!said(&by_variable).contains("every user"), "{}", said(&by_variable));
    assert!(!said(&by_flag).contains("hunter2"));
}

#[test]
fn help_shows_each_setting_with_its_twin_and_its_default() {
    for (program, expected) in [
        (
            SERVER,
            &["--listen <ADDRESS>", "FLASHSALE_LISTEN", "[default: 127.0.0.1:50051]", "[default: 120s]", "migrate"][..],
        ),
        (
            GATEWAY,
            &["--webhook-secrets <SECRETS>", "FLASHSALE_WEBHOOK_SECRETS]", "[default: 127.0.0.1:9465]", "RUST_LOG"],
        ),
        (SWEEPER, &["--batch <ROWS>", "FLASHSALE_SWEEP_BATCH", "[default: 100]", "DATABASE_URL]"]),
    ] {
        let output = run(program, &[], &["--help"]);
        assert_eq!(output.status.code(), Some(0));
        let help = String::from_utf8(output.stdout).unwrap();
        for text in expected {
            assert!(help.contains(text), "{text}: {help}");
        }
    }
}

#[test]
fn a_program_whose_stdout_is_closed_stops_in_order() {
    let metrics = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gateway = Command::new(GATEWAY)
        .env_clear()
        .envs([UNSIGNED, ("RUST_LOG", "trace"), ("FLASHSALE_GATEWAY_LISTEN", "127.0.0.1:0")])
        .env("FLASHSALE_METRICS_LISTEN", metrics.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(gateway.stdout.take());
    let serves = wait::look_until(Duration::from_secs(20), || TcpStream::connect(metrics).ok());
    assert!(serves.is_some(), "it doesn't serve");

    assert!(Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status().unwrap().success());
    let told = Instant::now();
    let output = gateway.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?} {stderr}", output.status);
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(told.elapsed() < Duration::from_secs(3), "{:?}", told.elapsed());
}
