//! Tests the settings of TLS to the database, and from the gateway to the server.

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use tempfile::TempDir;

use super::*;

const RSA_PKCS1: &str = include_str!("../../../tests/it/database_tls/rsa_pkcs1.pem");
const RSA_PKCS8: &str = include_str!("../../../tests/it/database_tls/rsa_pkcs8.pem");
const EC_SEC1: &str = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n";
const UNSIGNED: &str = "--webhook-allow-unsigned";

/// Holds files with a certificate and keys.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let rsa = KeyPair::from_pkcs8_pem_and_sign_algo(RSA_PKCS8, &PKCS_RSA_SHA256).unwrap();
        let ec = KeyPair::generate().unwrap();
        let certificate = |key| CertificateParams::new(["client".to_owned()]).unwrap().self_signed(key).unwrap().pem();
        for (name, text) in [
            ("rsa.pem", certificate(&rsa)),
            ("ec.pem", certificate(&ec)),
            ("ec.key", ec.serialize_pem()),
            ("pkcs1.key", RSA_PKCS1.to_owned()),
            ("pkcs8.key", RSA_PKCS8.to_owned()),
            ("sec1.key", EC_SEC1.to_owned()),
            ("locked.key", RSA_PKCS8.replace("PRIVATE", "ENCRYPTED PRIVATE")),
            ("empty", String::new()),
            ("no.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned()),
            ("half.pem", "-----BEGIN CERTIFICATE-----\nMIIB".to_owned()),
            ("token", "hunter2\n".to_owned()),
            ("tokens", "hunter2 hunter3\n".to_owned()),
        ] {
            std::fs::write(files.0.path().join(name), text).unwrap();
        }
        files
    }

    /// Replaces `~` in flags by the folder of the files.
    fn flags(&self, flags: &[&str]) -> Vec<String> {
        flags.iter().map(|flag| flag.replace("=~", &format!("={}", self.0.path().display()))).collect()
    }

    fn gateway(&self, flags: &[&str]) -> Result<GatewayConfig, Stop> {
        gateway(&self.flags(&[&[UNSIGNED], flags].concat()).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn sweeper(&self, flags: &[&str]) -> Result<SweeperConfig, Stop> {
        let mut flags = self.flags(&[&["--insecure"], flags].concat());
        if !flags.iter().any(|flag| flag.starts_with("--database-url")) {
            flags.push(URL.to_owned());
        }
        sweeper(&flags.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

#[test]
fn the_files_of_tls_to_the_database_are_read_at_the_start() {
    let files = Files::new();
    let tls = |flags: &[&str]| files.sweeper(flags).unwrap().database.tls.get();
    assert!(tls(&[]).authorities.is_none() && tls(&[]).identity.is_none());
    assert!(tls(&["--db-ca-file=~/ec.pem"]).authorities.is_some());
    let all = ["--db-ca-file=~/ec.pem", "--db-cert-file=~/rsa.pem", "--db-key-file=~/pkcs1.key"];
    assert!(tls(&all).identity.is_some());
    assert!(!format!("{:?}", tls(&all)).contains("RSA"));

    for (flags, expected) in [
        (&["--db-ca-file="][..], "--db-ca-file is empty"),
        (&["--db-ca-file=~/none"], "FLASHSALE_DB_CA_FILE (--db-ca-file) names a file that can't be read"),
        (&["--db-ca-file=~/empty"], "FLASHSALE_DB_CA_FILE (--db-ca-file) holds no certificate"),
        (&["--db-ca-file=~/no.pem"], "FLASHSALE_DB_CA_FILE (--db-ca-file) holds a certificate that isn't X.509"),
        (&["--db-ca-file=~/half.pem"], "FLASHSALE_DB_CA_FILE (--db-ca-file) holds a certificate that isn't PEM"),
        (&["--db-ca-file=/dev/zero"], "FLASHSALE_DB_CA_FILE (--db-ca-file) has more than 1048576 bytes"),
        (&["--db-cert-file=~/rsa.pem"], "FLASHSALE_DB_KEY_FILE (--db-key-file) is required with"),
        (&["--db-key-file=~/pkcs1.key"], "FLASHSALE_DB_CERT_FILE (--db-cert-file) is required with"),
        (&["--db-cert-file=~/rsa.pem", "--db-key-file=~/pkcs1.key"], "asks for no TLS"),
    ] {
        let line = line(files.sweeper(flags));
        assert!(line.contains(expected), "{flags:?}: {line}");
    }
}

#[test]
fn a_key_that_the_databases_driver_would_pass_over_is_refused_with_its_kind() {
    let files = Files::new();
    for (certificate, key, expected) in [
        ("rsa.pem", "pkcs8.key", "PKCS#8 (\"BEGIN PRIVATE KEY\")"),
        ("ec.pem", "ec.key", "PKCS#8 (\"BEGIN PRIVATE KEY\")"),
        ("ec.pem", "sec1.key", "EC (\"BEGIN EC PRIVATE KEY\")"),
        ("rsa.pem", "locked.key", "holds no private key in PEM, or one that needs a password"),
        ("rsa.pem", "empty", "holds no private key"),
        ("ec.pem", "pkcs1.key", "holds the key of another certificate"),
    ] {
        let [certificate, key] = [format!("--db-cert-file=~/{certificate}"), format!("--db-key-file=~/{key}")];
        let line = line(files.sweeper(&["--db-ca-file=~/ec.pem", &certificate, &key]));
        assert!(line.starts_with("FLASHSALE_DB_KEY_FILE (--db-key-file) "), "{line}");
        assert!(line.contains(expected), "{key}: {line}");
        assert!(!line.contains("MII"), "{line}");
    }
    let certificate =
        line(files.sweeper(&["--db-ca-file=~/ec.pem", "--db-cert-file=~/no.pem", "--db-key-file=~/pkcs1.key"]));
    assert!(certificate.starts_with("FLASHSALE_DB_CERT_FILE (--db-cert-file) "), "{certificate}");
}

#[test]
fn a_url_that_weakens_what_the_files_demand_is_refused() {
    let files = Files::new();
    let database = |query: &str, flags: &[&str]| {
        let url = format!("--database-url=mysql://u:hunter2@db.example/sale?{query}");
        files.sweeper(&[&[&*url], flags].concat())
    };
    let no_effect = line(database("require_ssl=true&verify_identity=false", &[]));
    assert!(no_effect.contains("verify_identity=false, which has no effect"), "{no_effect}");
    let ca = &["--db-ca-file=~/ec.pem"][..];
    for query in ["require_ssl=false", "verify_ca=false", "built_in_roots=true", "require_ssl=true&require_ssl=false"] {
        let line = line(database(query, ca));
        assert!(line.starts_with("DATABASE_URL (--database-url) has "), "{line}");
        assert!(line.contains("says the opposite") && !line.contains("hunter2"), "{query}: {line}");
    }
    let socket = line(database("socket=/run/mysqld.sock", ca));
    assert!(socket.contains("names a socket, which has no TLS"), "{socket}");
    for (query, flags, is_verified) in [
        ("", &[][..], false),
        ("", ca, true),
        ("require_ssl=true", ca, true),
        ("require_ssl=true&built_in_roots=false", ca, true),
        ("require_ssl=true", &[], true),
        ("require_ssl=true&verify_identity=true", &[], true),
        ("require_ssl=true&verify_ca=false", &[], false),
        ("verify_ca=true", &[], false),
        ("require_ssl=true&require_ssl=false", &[], false),
    ] {
        let transport = database(query, flags).unwrap().database.transport;
        assert_eq!(transport, Transport { is_local: false, is_verified }, "{query} {flags:?}");
    }
}

#[test]
fn a_database_is_on_this_machine_by_its_address_or_by_a_socket() {
    let transport =
        |rest: &str| sweeper(&["--insecure", &format!("--database-url=mysql://u@{rest}")]).unwrap().database.transport;
    for rest in ["127.0.0.1/sale", "127.9.9.9/sale", "LocalHost/sale", "[::1]/sale", "db.example/sale?socket=/run/m"] {
        assert_eq!(transport(rest), Transport { is_local: true, is_verified: false }, "{rest}");
    }
    for rest in ["10.0.0.1/sale", "[::2]/sale", "localhost.example/sale", "128.0.0.1/sale", "0.0.0.0/sale"] {
        assert!(!transport(rest).is_local, "{rest}");
    }
    assert!(!transport("db/sale?socket=/run/m&require_ssl=true").is_verified, "a socket has no TLS");
}

#[test]
fn the_gateways_certificate_and_token_are_read_at_the_start() {
    let files = Files::new();
    let https = "--server-url=https://server:50051";
    let credentials = |flags: &[&str]| files.gateway(flags).unwrap().credentials.get();
    assert!(*credentials(&[]) == crate::gateway::Credentials::default());
    let all = [
        https,
        "--server-ca=~/ec.pem",
        "--server-cert=~/ec.pem",
        "--server-key=~/ec.key",
        "--server-token-file=~/token",
    ];
    let read = credentials(&all);
    assert!(read.authorities.is_some() && read.identity.is_some() && read.token.is_some());
    assert!(!format!("{read:?}").contains("hunter2"));
    credentials(&[https, "--server-cert=~/rsa.pem", "--server-key=~/pkcs8.key"]);
    credentials(&["--server-token=hunter2"]);
    credentials(&["--server-url=http://[::1]:1", "--server-token=hunter2"]);

    for (flags, expected) in [
        (&[https, "--server-ca=~/none"][..], "FLASHSALE_SERVER_CA (--server-ca) names a file that can't be read"),
        (&[https, "--server-ca=~/no.pem"], "FLASHSALE_SERVER_CA (--server-ca) holds a certificate that isn't X.509"),
        (&[https, "--server-cert=~/ec.pem"], "FLASHSALE_SERVER_KEY (--server-key) is required with"),
        (&[https, "--server-key=~/ec.key"], "FLASHSALE_SERVER_CERT (--server-cert) is required with"),
        (
            &[https, "--server-cert=~/ec.pem", "--server-key=~/pkcs1.key"],
            "FLASHSALE_SERVER_KEY (--server-key) holds the key",
        ),
        (&[https, "--server-cert=~/empty", "--server-key=~/ec.key"], "FLASHSALE_SERVER_CERT (--server-cert) holds no"),
        (&["--server-ca=~/ec.pem"], "FLASHSALE_SERVER_CA (--server-ca) needs a server with https://"),
        (&["--server-cert=~/ec.pem", "--server-key=~/ec.key"], "FLASHSALE_SERVER_CERT (--server-cert) needs a server"),
        (&["--server-token="], "FLASHSALE_SERVER_TOKEN (--server-token) is empty"),
        (&["--server-token=hunter2\u{e9}"], "FLASHSALE_SERVER_TOKEN (--server-token) has spaces"),
        (&["--server-token-file=~/tokens"], "FLASHSALE_SERVER_TOKEN_FILE (--server-token-file) has spaces"),
        (
            &["--server-token-file=~/none"],
            "FLASHSALE_SERVER_TOKEN_FILE (--server-token-file) names a file that can't be read",
        ),
        (&["--server-token=hunter2", "--server-token-file=~/token"], "is given, and so is FLASHSALE_SERVER_TOKEN_FILE"),
        (
            &["--server-url=http://server:50051", "--server-token=hunter2"],
            "FLASHSALE_SERVER_TOKEN (--server-token) would be sent in plain text",
        ),
        (
            &["--server-url=http://10.0.0.1:1", "--server-token-file=~/token"],
            "FLASHSALE_SERVER_TOKEN_FILE (--server-token-file) would be sent in plain text",
        ),
    ] {
        let line = line(files.gateway(flags));
        assert!(line.contains(expected), "{flags:?}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}
