//! Tests secrets: where they are read from, and that nothing repeats them.

use super::*;

#[test]
fn a_database_url_names_a_host_and_a_database_and_is_never_repeated() {
    for good in [
        "mysql://root@localhost/sale",
        "mysql://u:p%40w@[::1]:3306/sale?prefer_socket=false",
        "mysql://u@h/sale?socket=/run/mysqld.sock",
    ] {
        server(&["--database-url", good]).unwrap();
    }
    for (bad, expected) in [
        ("", "is empty"),
        ("hunter2", "is not a URL"),
        ("postgres://u:hunter2@h/sale", "doesn't start with mysql://"),
        ("mysql://u:hunter2@h", "has no database name"),
        ("mysql://u:hunter2@h/", "has no database name"),
        ("mysql://u:hunter2@h/a/b", "has a / in the database name"),
        ("mysql:///sale?hunter2", "has no host"),
        ("mysql:sale-hunter2", "has no host"),
        ("mysql://u:hunter2@h:port/sale", "is not a URL"),
        ("mysql://u@h/sale#hunter2", "has a #"),
        ("mysql://u:1#hunter2@h/sale", "has a #"),
    ] {
        let line = line(server(&["--database-url", bad]));
        assert!(line.starts_with("DATABASE_URL (--database-url) "), "{line}");
        assert!(line.contains(expected), "{bad}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
    let line = line(server(&[]));
    assert!(line.contains("DATABASE_URL (--database-url) is required, or DATABASE_URL_FILE"), "{line}");
}

#[test]
fn secrets_are_read_from_a_file_without_its_line_break() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("url");
    let flag = format!("--database-url-file={}", path.display());
    for end in ["", "\n", "\r\n"] {
        std::fs::write(&path, format!("mysql://u:p@localhost/sale{end}")).unwrap();
        let config = sweeper(&[&flag]).unwrap();
        assert_eq!(secrecy::ExposeSecret::expose_secret(&config.database.url), "mysql://u:p@localhost/sale");
    }
    assert!(line(sweeper(&[&flag, URL])).contains("is given, and so is DATABASE_URL_FILE"));
    for (bytes, expected) in [
        (&b"\n"[..], "is empty"),
        (b"\xff", "it is not UTF-8"),
        (&[b'x'; 70_000], "more than 65536 bytes"),
        (b"mysql://hunter2@h", "has no database name"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let line = line(sweeper(&[&flag]));
        assert!(line.starts_with("DATABASE_URL_FILE (--database-url-file) "), "{line}");
        assert!(line.contains(expected) && !line.contains("hunter2"), "{line}");
    }
    let missing = line(sweeper(&["--database-url-file=/no/hunter2"]));
    assert!(
        missing.contains("names a file that can't be read: No such file") && !missing.contains("hunter2"),
        "{missing}"
    );
    assert!(line(sweeper(&["--database-url-file="])).contains("--database-url-file is empty"));
    let mixed_up = line(sweeper(&["--database-url-file=mysql://u:hunter2@h/sale"]));
    assert!(mixed_up.contains("names a file that can't be read") && !mixed_up.contains("hunter2"), "{mixed_up}");
    for bare in ["--webhook-secrets-file=hunter2", "--stripe-secrets-file=hunter2"] {
        let line = line(gateway(&[bare]));
        assert!(line.contains("names a file that can't be read") && !line.contains("hunter2"), "{line}");
    }
}

#[test]
fn webhooks_are_verified_wherever_there_is_a_secret() {
    let signed = |flags: &[&str]| match gateway(flags).unwrap().senders.get().webhook.clone().unwrap() {
        WebhookAuth::Signed(secrets) => secrets.len(),
        WebhookAuth::Unsigned => 0,
    };
    assert_eq!(signed(&["--webhook-secrets", SECRET]), 1);
    assert_eq!(signed(&["--webhook-secrets", &format!("{SECRET}, {SECRET}")]), 2);
    assert_eq!(signed(&["--webhook-secrets", SECRET, "--webhook-allow-unsigned"]), 1, "secrets win");
    assert_eq!(signed(&["--webhook-allow-unsigned"]), 0);

    let missing = line(gateway(&[]));
    assert!(missing.contains("FLASHSALE_WEBHOOK_SECRETS (--webhook-secrets)"), "{missing}");
    assert!(missing.contains("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED (--webhook-allow-unsigned)"), "{missing}");
    let many = vec![SECRET; 17].join(",");
    for (secrets, expected) in [
        ("", "is empty"),
        (&*format!("{SECRET},"), "secret 2 of 2 is empty"),
        (&format!("{SECRET},aHVudGVyMg=="), "secret 2 of 2: "),
        ("whsec_hunter2!", "secret 1 of 1: "),
        (&many, "more than 16"),
    ] {
        let line = line(gateway(&["--webhook-secrets", secrets, "--webhook-allow-unsigned"]));
        assert!(line.starts_with("FLASHSALE_WEBHOOK_SECRETS (--webhook-secrets) "), "{line}");
        assert!(line.contains(expected), "{line}");
        assert!(!line.contains("hunter2") && !line.contains("aHVudGVyMg"), "{line}");
    }
}

#[test]
fn stripes_secrets_are_taken_as_text_and_do_not_open_the_webhook() {
    let stripe =
        |flags: &[&str]| gateway(&[&["--webhook-allow-unsigned"], flags].concat()).unwrap().senders.get().stripe.len();
    assert_eq!(stripe(&[]), 0);
    assert_eq!(stripe(&["--stripe-secrets=whsec_used-as=text!"]), 1);
    assert_eq!(stripe(&["--stripe-secrets", "whsec_used_as_text, whsec_and_this_one_too"]), 2);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    std::fs::write(&path, "whsec_used_as_text,whsec_and_this_one_too\n").unwrap();
    assert_eq!(stripe(&[&format!("--stripe-secrets-file={}", path.display())]), 2);

    let stripe_alone = gateway(&["--stripe-secrets=whsec_used_as_text"]).unwrap().senders.get();
    assert!(stripe_alone.webhook.is_none() && stripe_alone.stripe.len() == 1);
    let many = vec!["whsec_used_as_text"; 17].join(",");
    for (secrets, expected) in [
        ("", "is empty"),
        ("whsec_used_as_text,", "secret 2 of 2 is empty"),
        ("whsec_hunter2", "secret 1 of 1: a Stripe secret must have 16 to 255"),
        ("whsec_used_as_text,whsec_hunter2 hunter2", "secret 2 of 2: "),
        (&many, "more than 16"),
    ] {
        let line = line(gateway(&["--webhook-allow-unsigned", "--stripe-secrets", secrets]));
        assert!(line.starts_with("FLASHSALE_STRIPE_SECRETS (--stripe-secrets) "), "{line}");
        assert!(line.contains(expected) && !line.contains("hunter2"), "{line}");
    }
    let flags = ["--webhook-allow-unsigned", "--stripe-secrets=whsec_used_as_text", "--stripe-secrets-file=x"];
    assert!(line(gateway(&flags)).contains("is given, and so is FLASHSALE_STRIPE_SECRETS_FILE"));
}

#[test]
fn secrets_in_files_are_read_anew_all_or_none() {
    let folder = tempfile::tempdir().unwrap();
    let [webhook, stripe] = ["webhook", "stripe"].map(|name| folder.path().join(name));
    std::fs::write(&webhook, SECRET).unwrap();
    std::fs::write(&stripe, "whsec_used_as_text").unwrap();
    let flags = [("webhook", &webhook), ("stripe", &stripe)];
    let flags = flags.map(|(of, path)| format!("--{of}-secrets-file={}", path.display()));
    let config = gateway(&flags.each_ref().map(String::as_str)).unwrap();
    let secrets = || {
        let senders = config.senders.get();
        let Some(WebhookAuth::Signed(signed)) = &senders.webhook else { panic!("unsigned") };
        (signed.len(), senders.stripe.len())
    };
    assert_eq!(secrets(), (1, 1));
    std::fs::write(&webhook, format!("{SECRET},{SECRET}")).unwrap();
    for bad in ["", "whsec_hunter2", "whsec_used_as_text,"] {
        std::fs::write(&stripe, bad).unwrap();
        let error = config.reload.read_anew().unwrap_err().to_string();
        assert!(error.starts_with("FLASHSALE_STRIPE_SECRETS_FILE") && !error.contains("hunter2"), "{error}");
        assert_eq!(secrets(), (1, 1));
    }
    std::fs::write(&stripe, "whsec_used_as_text,whsec_and_this_one_too").unwrap();
    config.reload.read_anew().unwrap();
    assert_eq!(secrets(), (2, 2));
}

#[test]
fn a_value_that_looks_like_a_secret_is_repeated_for_no_setting() {
    for value in [
        "mysql://u:hunter2@h/sale",
        "http://u:hunter2@h",
        "u:hunter2@h",
        "whsec_hunter2",
        "Bearer hunter2",
        "-----BEGIN PRIVATE KEY-----hunter2",
    ] {
        for flag in ["--listen", "--hold-ttl", "--db-pool-size", "--log-format", "--webhook-require-amount"] {
            let line = line(server(&[URL, &format!("{flag}={value}")]));
            assert!(line.starts_with(flag) && !line.contains("hunter2"), "{line}");
        }
        let line = line(gateway(&["--webhook-allow-unsigned", &format!("--server-url={value}")]));
        assert!(line.starts_with("--server-url can't be used: expected a URL") && !line.contains("hunter2"), "{line}");
    }
}

#[test]
fn a_secret_that_others_can_see_is_found() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secrets");
    std::fs::write(&path, SECRET).unwrap();
    let file = format!("--webhook-secrets-file={}", path.display());
    let found = |flags: &[&str]| visible_secrets::all(deaf(GatewayArgs::command()), ["gateway"].iter().chain(flags));
    for (mode, is_exposed) in
        [(0o400, false), (0o600, false), (0o640, false), (0o604, true), (0o644, true), (0o777, true)]
    {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let expected = VisibleSecret::File("--webhook-secrets-file".to_owned());
        assert_eq!(found(&[&file]), if is_exposed { vec![expected] } else { Vec::new() }, "{mode:o}");
    }
    assert_eq!(found(&["--server-url=http://h", "--listen=127.0.0.1:1"]), []);
    let flags = found(&["--webhook-secrets", SECRET, "--stripe-secrets=whsec_used_as_text"]);
    assert_eq!(flags, ["--webhook-secrets", "--stripe-secrets"].map(|flag| VisibleSecret::Flag(flag.to_owned())));
    let before = ["server", URL, "migrate"];
    let behind = ["server", "migrate", URL];
    for args in [before, behind] {
        let found = visible_secrets::all(deaf(ServerArgs::command()), args);
        assert_eq!(found, [VisibleSecret::Flag("--database-url".to_owned())], "{args:?}");
    }
    assert_eq!(visible_secrets::all(deaf(ServerArgs::command()), ["server", "--nonsense"]), []);
}

#[test]
fn secrets_are_not_printed_with_the_settings() {
    let config = server(&["--database-url=mysql://u:hunter2@localhost/sale"]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let config = gateway(&["--webhook-secrets", SECRET, "--stripe-secrets=whsec_hunter2_hunter2"]).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("MDEyMzQ1") && !printed.contains("hunter2"), "{printed}");
}
