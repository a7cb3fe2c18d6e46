//! Tests settings that are given as flags. `tests/it/settings.rs` tests those from the environment, on the programs.

mod peers;
mod secrets;

use clap::CommandFactory;

use super::{
    gateway::GatewayArgs,
    server::ServerArgs,
    sweeper::{SweeperArgs, YEAR},
    *,
};
use crate::{
    gateway::{Routes, WebhookAuth},
    listener::Limits,
    shares::CallLimits,
};

const URL: &str = "--database-url=mysql://root:pw@127.0.0.1:3306/sale";
/// Holds the shortest secret that is allowed: 24 bytes.
const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz";

/// Makes a command that ignores the environment of the person who runs the tests.
fn deaf(command: Command) -> Command {
    command.mut_args(|argument| argument.env(None::<&'static str>)).mut_subcommands(deaf)
}

fn server(flags: &[&str]) -> Result<ServerConfig, Stop> {
    let args = ["server"].iter().chain(flags);
    Ok(ServerConfig::read(parse(deaf(ServerArgs::command()), args)?)?)
}

fn gateway(flags: &[&str]) -> Result<GatewayConfig, Stop> {
    let args = ["gateway"].iter().chain(flags);
    Ok(GatewayConfig::read(parse(deaf(GatewayArgs::command()), args)?)?)
}

fn sweeper(flags: &[&str]) -> Result<SweeperConfig, Stop> {
    let args = ["sweeper"].iter().chain(flags);
    Ok(SweeperConfig::read(parse(deaf(SweeperArgs::command()), args)?)?)
}

fn line<T>(result: Result<T, Stop>) -> String {
    match result {
        Err(Stop::BadSetting(bad)) => bad.to_string(),
        Err(other) => panic!("not a bad setting: {other:?}"),
        Ok(_) => panic!("taken"),
    }
}

#[test]
fn without_flags_the_defaults_of_the_contract_hold() {
    let config = server(&[URL]).unwrap();
    assert_eq!(config.database.pool_size, 16);
    assert_eq!(config.listen, "127.0.0.1:50051".parse().unwrap());
    assert_eq!(config.metrics_listen, "127.0.0.1:9464".parse().unwrap());
    let limits = Limits { connections_max: 4096, age_max: Some(SECOND * 300), drain_delay: Duration::ZERO };
    assert_eq!(config.limits, limits);
    assert_eq!(config.hold_ttl, Duration::from_secs(120));
    assert_eq!(config.payment_due, Some(Duration::from_secs(30 * 60)));
    assert_eq!(config.lane_queue, 4096);
    assert_eq!(config.calls, CallLimits { calls_max: 16_384, rate_max: None });
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.command, ServerCommand::Serve);

    let config = gateway(&["--webhook-allow-unsigned"]).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8000".parse().unwrap());
    assert_eq!(config.metrics_listen, "127.0.0.1:9465".parse().unwrap());
    assert_eq!(config.limits, Limits { age_max: None, ..limits });
    assert_eq!(config.server_url, "http://127.0.0.1:50051".parse().unwrap());
    assert_eq!(config.timeout, Duration::from_secs(5));
    assert!(matches!(config.senders.get().webhook, Some(WebhookAuth::Unsigned)));
    assert_eq!(config.routes, Routes::All);

    let config = sweeper(&[URL]).unwrap();
    assert_eq!((config.batch, config.command), (100, SweeperCommand::Sweep));
}

#[test]
fn the_commands_take_the_settings_before_and_after_them() {
    for (flags, seed) in [
        (&["migrate", URL][..], false),
        (&[URL, "migrate", "--seed"], true),
        (&["migrate", "--seed", URL, "--log-format=text"], true),
    ] {
        let config = server(flags).unwrap();
        assert_eq!(config.command, ServerCommand::Migrate { seed }, "{flags:?}");
    }
}

#[test]
fn the_sweeper_sweeps_unless_an_audit_is_asked_for() {
    for (flags, command) in [
        (&[URL][..], SweeperCommand::Sweep),
        (&[URL, "audit"], SweeperCommand::Audit { page: 10_000, repair: false }),
        (&["audit", URL, "--repair", "--page=1"], SweeperCommand::Audit { page: 1, repair: true }),
        (&["audit", URL, "--page=100000"], SweeperCommand::Audit { page: 100_000, repair: false }),
    ] {
        assert_eq!(sweeper(flags).unwrap().command, command, "{flags:?}");
    }
    for page in ["0", "100001", "x"] {
        let line = line(sweeper(&["audit", URL, &format!("--page={page}")]));
        assert!(line.starts_with("--page") && line.contains("from 1 to 100000"), "{page}: {line}");
    }
}

#[test]
fn a_purge_has_to_be_told_how_old_the_rows_have_to_be() {
    for (flags, after, dry_run) in [
        (&["purge", "--after=90d", URL][..], DAY * 90, false),
        (&[URL, "purge", "--dry-run", "--after", "1day"], DAY, true),
        (&[URL, "purge", "--after=10years"], YEAR * 10, false),
    ] {
        assert_eq!(sweeper(flags).unwrap().command, SweeperCommand::Purge { after, dry_run }, "{flags:?}");
    }
    for after in ["0", "23h 59m", "10years 1s", "soon"] {
        let line = line(sweeper(&[URL, "purge", &format!("--after={after}")]));
        assert!(line.starts_with("--after"), "{after}: {line}");
        assert!(line.contains("expected a duration"), "{after}: {line}");
    }
    let missing = line(sweeper(&[URL, "purge"]));
    assert_eq!(missing, "--after is required");
}

#[test]
fn the_bounds_are_taken() {
    let ttl = |text: &str| server(&[URL, "--hold-ttl", text]).unwrap().hold_ttl;
    assert_eq!(ttl("1s"), SECOND);
    assert_eq!(ttl("30days"), DAY * 30);
    assert_eq!(ttl("1s 1us"), Duration::from_micros(1_000_001));
    let due = |text: &str| server(&[URL, "--payment-due", text]).unwrap().payment_due;
    assert_eq!(due("0"), None);
    assert_eq!(due("0s"), None);
    assert_eq!(due("365days"), Some(DAY * 365));
    for (text, age) in [("0", None), ("1s", Some(SECOND)), ("365days", Some(DAY * 365))] {
        assert_eq!(server(&[URL, "--max-connection-age", text]).unwrap().limits.age_max, age);
    }
    assert_eq!(server(&[URL, "--drain-delay=4s"]).unwrap().limits.drain_delay, SECOND * 4);
    assert_eq!(server(&[URL, "--max-connections=1"]).unwrap().limits.connections_max, 1);
    assert_eq!(sweeper(&[URL, "--batch=10000"]).unwrap().batch, 10_000);
    assert_eq!(server(&[URL, "--db-pool-size=1000"]).unwrap().database.pool_size, 1000);
    assert_eq!(gateway(&["--webhook-allow-unsigned=true", "--timeout=5m"]).unwrap().timeout, Duration::from_secs(300));
    for url in ["http://server", "https://server:443/", "http://[::1]:50051"] {
        gateway(&["--webhook-allow-unsigned", "--server-url", url, "--insecure"]).unwrap();
    }
}

#[test]
fn a_bad_value_is_one_line_that_names_the_setting_and_what_was_expected() {
    for (flag, value, expected) in [
        ("--listen", "", "is empty: expected an IP address and a port"),
        ("--listen", "localhost", "can't be 'localhost': expected an IP address"),
        ("--metrics-listen", "1.2.3.4:99999", "can't be '1.2.3.4:99999'"),
        ("--hold-ttl", "0", "expected a duration from 1s to 30days"),
        ("--hold-ttl", "999ms", "expected a duration from 1s"),
        ("--hold-ttl", "30days 1us", "to 30days"),
        ("--hold-ttl", "1s 1ns", "whole microseconds"),
        ("--hold-ttl", "120", "expected a duration like 120s"),
        ("--hold-ttl", "", "is empty: expected a duration"),
        ("--payment-due", "1ms", "expected a duration from 1s"),
        ("--payment-due", "366days", "to 365days, or 0"),
        ("--payment-due", "soon", "expected a duration like"),
        ("--drain-delay", "4001ms", "expected a duration from 0s to 4s"),
        ("--drain-delay", "1", "expected a duration like"),
        ("--max-connection-age", "999ms", "expected a duration from 1s"),
        ("--max-connection-age", "366days", "to 365days, or 0"),
        ("--max-connections", "0", "expected a whole number from 1 to 1000000"),
        ("--db-pool-size", "0", "expected a whole number from 1 to 1000"),
        ("--db-pool-size", "1001", "can't be '1001'"),
        ("--lane-queue", "0", "expected a whole number from 1 to 1000000"),
        ("--lane-queue", "many", "can't be 'many'"),
        ("--log-format", "xml", "can't be 'xml': expected json or text"),
        ("--log-format", "", "is empty: expected json or text"),
        ("--listen", "two\nlines", "can't be 'two\\nlines'"),
    ] {
        let line = line(server(&[URL, &format!("{flag}={value}")]));
        assert!(line.starts_with(flag), "{flag}={value}: {line}");
        assert!(line.contains(expected), "{flag}={value}: {line}");
        assert!(!line.contains('\n'), "{line}");
    }
    for (flag, value, expected) in [
        ("--server-url", "", "expected a URL"),
        ("--server-url", "127.0.0.1:50051", "http:// or https://"),
        ("--server-url", "ftp://server", "http:// or https://"),
        ("--server-url", "http://", "expected a URL"),
        ("--server-url", "http://user@server", "without a user"),
        ("--server-url", "http://server:99999", "port"),
        ("--server-url", "http://server/path", "without a path"),
        ("--server-url", "http://server?query", "without a path"),
        ("--timeout", "0", "expected a duration from 1ms to 5m"),
        ("--timeout", "301s", "expected a duration from 1ms to 5m"),
        ("--webhook-allow-unsigned", "yes", "expected true or false"),
    ] {
        let line = line(gateway(
            &["--webhook-allow-unsigned", &format!("{flag}={value}")][usize::from(flag.starts_with("--webhook"))..],
        ));
        assert!(line.starts_with(flag) && line.contains(expected), "{flag}={value}: {line}");
    }
    for value in ["0", "10001", "-1", "1.5"] {
        let line = line(sweeper(&[URL, &format!("--batch={value}")]));
        assert!(line.starts_with("--batch") && line.contains("from 1 to 10000"), "{value}: {line}");
    }
}

#[test]
fn wrong_flags_are_named_and_stray_words_are_not_repeated() {
    for (flags, expected) in [
        (&["--listne=x"][..], "--listne is not known"),
        (&["--listen"], "--listen is empty"),
        (&["--listen=127.0.0.1:1", "--listen=127.0.0.1:2"], "--listen is given twice"),
        (&["migrate", "--seed=1"], "--seed takes no value"),
        (&["hidden"], "the command is not known"),
        (&["migrate", "hidden"], "an argument without a flag is not known"),
        (&["--database-urll=mysql://u:hidden@h/d"], "--database-urll is not known"),
    ] {
        let line = line(server(flags));
        assert!(line.contains(expected), "{flags:?}: {line}");
        assert!(!line.contains("hidden"), "{flags:?}: {line}");
    }
    let line = line(gateway(&["--webhook-secrets", "a", "hidden"]));
    assert!(!line.contains("hidden"), "{line}");
}

#[test]
fn only_a_gateway_on_loopback_serves_the_shop_unless_it_is_told_to() {
    let routes =
        |flags: &[&str]| gateway(&[&["--webhook-allow-unsigned", "--insecure"], flags].concat()).unwrap().routes;
    for (listen, default) in [
        ("127.0.0.1:8000", Routes::All),
        ("127.8.0.1:8000", Routes::All),
        ("[::1]:8000", Routes::All),
        ("[::ffff:127.0.0.1]:8000", Routes::All),
        ("0.0.0.0:8000", Routes::Webhook),
        ("[::]:8000", Routes::Webhook),
        ("10.0.0.1:8000", Routes::Webhook),
    ] {
        let listen = format!("--listen={listen}");
        assert_eq!(routes(&[&listen]), default, "{listen}");
        for (given, expected) in [("webhook", Routes::Webhook), ("shop", Routes::Shop), ("all", Routes::All)] {
            assert_eq!(routes(&[&listen, "--routes", given]), expected, "{listen} {given}");
        }
    }
    for bad in ["", "Shop", "webhook,shop", "none"] {
        let line = line(gateway(&["--webhook-allow-unsigned", "--routes", bad]));
        assert!(line.starts_with("--routes ") && line.contains("expected webhook or shop or all"), "{line}");
    }
}

#[test]
fn a_gateway_without_webhooks_needs_no_secrets_and_believes_nobody() {
    let shop = gateway(&["--routes=shop"]).unwrap().senders.get();
    assert!(shop.webhook.is_none() && shop.stripe.is_empty());
    let given = ["--routes=shop", "--webhook-secrets", SECRET, "--stripe-secrets=whsec_used_as_text"];
    let shop = gateway(&given).unwrap().senders.get();
    assert!(shop.webhook.is_none() && shop.stripe.is_empty());
    assert!(line(gateway(&["--routes=shop", "--webhook-secrets=x"])).contains("FLASHSALE_WEBHOOK_SECRETS"), "checked");
    for routes in ["--routes=webhook", "--routes=all"] {
        let line = line(gateway(&[routes]));
        assert!(line.starts_with("FLASHSALE_WEBHOOK_SECRETS (--webhook-secrets) is required"), "{line}");
        assert!(line.contains("FLASHSALE_STRIPE_SECRETS"), "{line}");
    }
}

#[test]
fn every_setting_has_an_environment_twin_and_the_table_names_both() {
    let table = include_str!("../config.rs");
    for command in [ServerArgs::command(), GatewayArgs::command(), SweeperArgs::command()] {
        command.clone().debug_assert();
        for argument in
            command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        {
            let env = argument.get_env().expect("an environment variable").to_str().unwrap();
            let flag = argument.get_long().expect("a flag");
            assert!(table.contains(&format!("//! | `{env}` | `--{flag}` |")), "{env} --{flag}");
            let default: Vec<&str> = argument.get_default_values().iter().filter_map(|value| value.to_str()).collect();
            let value = env.strip_suffix("_FILE").unwrap_or(env);
            let is_secret = ["_URL", "_SECRETS", "_TOKEN", "_KEY"].iter().any(|end| value.ends_with(end));
            assert_eq!(argument.is_hide_env_values_set(), is_secret, "{env}");
            if let [default] = default[..] {
                assert!(
                    table.lines().any(|line| line.starts_with(&format!("//! | `{env}`")) && line.contains(default))
                );
            }
        }
    }
}

#[test]
fn principals_are_read_at_start_and_a_fault_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("principals");
    let flag = format!("--principals-file={}", path.display());
    let open = server(&[URL]).unwrap().access;
    assert!(!open.is_for_principals() && !open.is_for_nobody());
    for (text, is_for_nobody) in [("# nobody\n", true), ("anna san:dns:anna.example operator\n", false)] {
        std::fs::write(&path, text).unwrap();
        for access in
            [server(&[URL, &flag]).unwrap().access, gateway(&["--webhook-allow-unsigned", &flag]).unwrap().access]
        {
            assert!(access.is_for_principals());
            assert_eq!(access.is_for_nobody(), is_for_nobody, "{text}");
        }
    }
    for (bytes, expected) in [
        (&b"\nanna token:sha256:hunter2 operator"[..], "line 2 has a token's hash that isn't one"),
        (b"anna san:dns:hunter2 boss", "line 1 has an unknown role"),
        (b"\xff", "it is not UTF-8 text"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        for line in [line(server(&[URL, &flag])), line(gateway(&["--webhook-allow-unsigned", &flag]))] {
            assert!(line.starts_with("FLASHSALE_PRINCIPALS_FILE (--principals-file) can't be used: "), "{line}");
            assert!(line.contains(expected) && !line.contains("hunter2") && !line.contains('\n'), "{line}");
        }
    }
    let missing = line(server(&[URL, "--principals-file=/no/such"]));
    assert!(missing.contains("can't be used: it can't be read: No such file"), "{missing}");
}

#[test]
fn reflection_is_on_where_it_is_served_on_this_machine_unless_it_is_set() {
    let reflection = |flags: &[&str]| server(&[&[URL, "--insecure"], flags].concat()).unwrap().reflection;
    for (flags, is_on) in [
        (&[][..], true),
        (&["--listen=[::1]:1"], true),
        (&["--listen=0.0.0.0:1"], false),
        (&["--listen=0.0.0.0:1", "--admin-listen=127.0.0.1:1"], true),
        (&["--admin-listen=192.0.2.1:1"], false),
        (&["--reflection=off"], false),
        (&["--listen=0.0.0.0:1", "--reflection=on"], true),
    ] {
        assert_eq!(reflection(flags), is_on, "{flags:?}");
    }
    assert_eq!(server(&[URL]).unwrap().admin_listen, None);
    let both = server(&[URL, "--listen=127.0.0.1:7", "--admin-listen=127.0.0.1:7"]);
    assert!(line(both).contains("FLASHSALE_ADMIN_LISTEN (--admin-listen) is the address of FLASHSALE_LISTEN"));
    assert_eq!(server(&[URL, "--admin-listen=[::1]:2"]).unwrap().admin_listen, Some("[::1]:2".parse().unwrap()));
    for (flag, value, expected) in [
        ("--reflection", "yes", "can't be 'yes': expected on or off"),
        ("--reflection", "", "is empty"),
        ("--admin-listen", "here", "expected an IP address and a port"),
    ] {
        let line = line(server(&[URL, &format!("{flag}={value}")]));
        assert!(line.starts_with(flag) && line.contains(expected), "{line}");
    }
}
