//! Covers what may be open to strangers: it ends the start, or is warned of where the operator says that it is meant.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use crate::support::{
    mysqld::free_port,
    process::{Process, Program},
    programs::{STOP_LIMIT, lines_of},
};

const LIMIT: Duration = Duration::from_secs(60);
const HERE: (&str, &str) = ("DATABASE_URL", "mysql://root@127.0.0.1:1/sale");
/// No resolver knows this name: RFC 6761.
const ELSEWHERE: (&str, &str) = ("DATABASE_URL", "mysql://u:hunter2@db.invalid/sale");
const UNSIGNED: (&str, &str) = ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");
const SIGNED: (&str, &str) = ("FLASHSALE_WEBHOOK_SECRETS", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz");

/// Starts a program that has to refuse its settings, and returns its one line.
fn refusal(program: Program, arguments: &[&str], settings: &[(&str, &str)]) -> String {
    let mut command = Command::new(program.path());
    let output = command.env_clear().envs(settings.iter().copied()).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
    assert!(output.stdout.is_empty() && !stderr.contains("hunter2"), "{stderr}");
    stderr
}

#[test]
fn what_is_open_to_strangers_ends_the_start() {
    let server = [
        "FLASHSALE_LISTEN (--listen) is 0.0.0.0:50051, where calls come in plain text: set FLASHSALE_TLS_CERT",
        "anybody may call: set FLASHSALE_PRINCIPALS_FILE",
        "FLASHSALE_INSECURE (--insecure)",
    ];
    let gateway = ["FLASHSALE_GATEWAY_LISTEN (--listen) is [::]:8000, where calls come in plain text"];
    let unsigned = [gateway[0], "anybody may send payment events: set FLASHSALE_WEBHOOK_SECRETS"];
    let database = ["DATABASE_URL (--database-url) leads to another host", "set FLASHSALE_DB_CA_FILE;"];
    let url = ["FLASHSALE_SERVER_URL (--server-url) leads to another host in plain text"];
    for (program, arguments, settings, named) in [
        (Program::Server, &[][..], &[HERE, ("FLASHSALE_LISTEN", "0.0.0.0:50051")][..], &server[..]),
        (Program::Gateway, &[], &[SIGNED, ("FLASHSALE_GATEWAY_LISTEN", "[::]:8000")], &gateway),
        (Program::Gateway, &[], &[UNSIGNED, ("FLASHSALE_GATEWAY_LISTEN", "[::]:8000")], &unsigned),
        (
            Program::Gateway,
            &["--routes=shop"],
            &[("FLASHSALE_GATEWAY_LISTEN", "[::]:8000")],
            &[gateway[0], "anybody may call: set FLASHSALE_PRINCIPALS_FILE"],
        ),
        (Program::Gateway, &[], &[UNSIGNED, ("FLASHSALE_SERVER_URL", "http://server.invalid:50051")], &url),
        (Program::Server, &[], &[ELSEWHERE], &database),
        (Program::Server, &["migrate"], &[ELSEWHERE], &database),
        (Program::Sweeper, &[], &[ELSEWHERE], &database),
        (Program::Sweeper, &["audit"], &[ELSEWHERE], &database),
        (Program::Sweeper, &["purge", "--after=90d"], &[ELSEWHERE, ("FLASHSALE_INSECURE", "false")], &database),
    ] {
        let line = refusal(program, arguments, settings);
        assert!(line.starts_with(&format!("bad setting: {}", named[0])), "{line}");
        assert!(named.iter().all(|text| line.contains(text)), "{named:?}: {line}");
    }
}

/// The listeners stay on loopback, so that nothing of the test is open.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_meant_to_be_open_is_warned_of() {
    let metrics = format!("127.0.0.1:{}", free_port());
    for (program, listen, open, setting) in [
        (Program::Server, "FLASHSALE_LISTEN", ELSEWHERE, "DATABASE_URL"),
        (
            Program::Gateway,
            "FLASHSALE_GATEWAY_LISTEN",
            ("FLASHSALE_SERVER_URL", "http://server.invalid:50051"),
            "FLASHSALE_SERVER_URL",
        ),
    ] {
        let own = [(listen, "127.0.0.1:0"), ("FLASHSALE_METRICS_LISTEN", &metrics), ("FLASHSALE_INSECURE", "true")];
        let mut process = Process::spawn(program, &[], &[&own[..], &[open, UNSIGNED]].concat());
        process.address(LIMIT).await;
        process.terminate();
        assert_eq!(process.wait_exit(STOP_LIMIT).await, 0);
        let lines = process.lines();
        let warned = lines_of(&lines, "The settings are not secure");
        assert_eq!(warned.len(), 1, "{warned:?}");
        assert_eq!((&warned[0]["level"], &warned[0]["setting"]), (&"WARN".into(), &setting.into()), "{warned:?}");
        assert!(!format!("{lines:?}").contains("hunter2"));
    }
}
