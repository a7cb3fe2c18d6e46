//! Covers TLS of the listeners: who is let in, who is shut out, and certificates that are replaced.

mod encrypted;

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use flashsale::pb::GetSaleStatsRequest;
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::Code;

use self::encrypted::{Caller, LIMIT, gateway, server};
use crate::support::{
    authority::{Authority, TlsFolder},
    client::Clients,
    process::{Process, Program},
    programs::STOP_LIMIT,
    signal, wait,
};

const NAMES: &[&str] = &["localhost"];

/// Returns what a peer sends until it closes the connection, and how long that took.
async fn until_closed(mut stream: TcpStream) -> (Vec<u8>, Duration) {
    let (begun, mut bytes) = (Instant::now(), Vec::new());
    let _reset = timeout(LIMIT, stream.read_to_end(&mut bytes)).await.expect("the end of the connection");
    (bytes, begun.elapsed())
}

/// Sends SIGHUP and waits for the line that says what became of it.
async fn reload(process: &Process, message: &str) -> serde_json::Value {
    let before = process.lines_of(message).len();
    assert!(signal::send(process.pid(), "HUP"));
    wait::eventually_some(LIMIT, message, async || process.lines_of(message).get(before).cloned()).await
}

async fn stop(mut process: Process) {
    process.terminate();
    assert_eq!(process.wait_exit(STOP_LIMIT).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_tls_answers_calls_over_http2_alone_and_nothing_in_plain_text() {
    let authority = Authority::new("ours");
    let folder = TlsFolder::new(&authority.issue(NAMES));
    let (process, address) = server(&folder.settings()).await;
    assert!(Caller::of(&authority).is_served(&address).await);
    let stranger = Authority::new("another");
    assert!(Caller::of(&stranger).connect(&address).await.is_err(), "the certificate is another's");

    let stream = Caller::of(&authority).connect(&address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let old = Caller { asks_for: &[b"http/1.1"], ..Caller::of(&authority) };
    assert!(old.connect(&address).await.is_err(), "gRPC needs HTTP/2");
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 600]]
    {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let (answer, time) = until_closed(stream).await;
        // An alert of TLS, or nothing.
        assert!(answer.first().is_none_or(|kind| *kind == 21), "{answer:?}");
        assert!(time < Duration::from_secs(8), "{time:?}");
    }
    assert!(Caller::of(&authority).is_served(&address).await);
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_shows_a_certificate_of_the_right_authority_or_is_refused() {
    let (authority, clients, stranger) = (Authority::new("ours"), Authority::new("clients"), Authority::new("others"));
    let folder = TlsFolder::new(&authority.issue(NAMES));
    folder.write("clients.pem", &clients.pem);
    let (process, address) = server(&folder.settings()).await;

    let good = clients.issue(&["till.example"]);
    assert!(Caller::showing(&authority, &good).is_served(&address).await);
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let expired = clients.issue_until(&["till.example"], Some(yesterday));
    let others = stranger.issue(&["till.example"]);
    for (what, shows) in [("none", None), ("an expired one", Some(&expired)), ("another's", Some(&others))] {
        let caller = Caller { shows, ..Caller::of(&authority) };
        assert!(!caller.is_served(&address).await, "{what}");
    }
    // The alert arrives, so the client can say what is wrong.
    let mut stream = Caller::of(&authority).connect(&address).await.unwrap();
    let told = stream.read(&mut [0; 16]).await.unwrap_err().to_string();
    assert!(told.contains("CertificateRequired"), "{told}");
    assert_eq!(process.lines_of("A TLS handshake failed; others that fail are not logged for a minute").len(), 1);
    assert!(Caller::showing(&authority, &good).is_served(&address).await);
    stop(process).await;
}

/// Half handshakes are as many as the whole of a scanner's patience; each has its own task and none holds up the loop.
#[tokio::test(flavor = "multi_thread")]
async fn who_takes_its_time_is_closed_after_ten_seconds_and_holds_up_nobody() {
    let authority = Authority::new("ours");
    let folder = TlsFolder::new(&authority.issue(NAMES));
    let (process, address) = server(&folder.settings()).await;
    let begun = Instant::now();
    let mut slow = tokio::task::JoinSet::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // Nothing, the first byte of a ClientHello, and the beginning of one that says it is long.
        let bytes = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"][number % 3];
        stream.write_all(bytes).await.unwrap();
        slow.spawn(async move { until_closed(stream).await.1 });
    }
    let mut silent = Caller::of(&authority).connect(&address).await.unwrap();
    slow.spawn(async move {
        let (begun, mut bytes) = (Instant::now(), Vec::new());
        let _end = timeout(LIMIT, silent.read_to_end(&mut bytes)).await.expect("the end of the connection");
        begun.elapsed()
    });
    assert!(Caller::of(&authority).is_served(&address).await);
    assert!(begun.elapsed() < Duration::from_secs(9), "the machine is too slow for this test: {:?}", begun.elapsed());
    while let Some(time) = slow.join_next().await {
        let time = time.unwrap();
        assert!(time > Duration::from_secs(8) && time < Duration::from_secs(20), "{time:?}");
    }
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_takes_its_place_before_its_handshake() {
    let authority = Authority::new("ours");
    let folder = TlsFolder::new(&authority.issue(NAMES));
    let most = ("FLASHSALE_MAX_CONNECTIONS", "2".to_owned());
    let (process, address) = server(&[folder.settings(), vec![most]].concat()).await;
    let waiting = [TcpStream::connect(&address).await.unwrap(), TcpStream::connect(&address).await.unwrap()];
    let (bytes, time) = until_closed(TcpStream::connect(&address).await.unwrap()).await;
    assert!(bytes.is_empty() && time < Duration::from_secs(8), "{time:?}");
    drop(waiting);
    wait::eventually(LIMIT, "room", async || Caller::of(&authority).is_served(&address).await).await;
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_shown_after_a_hangup_and_a_bad_one_never() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let folder = TlsFolder::new(&old.issue(NAMES));
    let (process, address) = server(&folder.settings()).await;
    let lives_on: Clients = Caller::of(&old).clients(&address).await.unwrap();
    lives_on.health("liveness").await.unwrap();

    let bad = |named: &'static str| {
        let process = &process;
        async move {
            let line = reload(process, "Credentials can't be read anew, and the old ones stay").await;
            assert_eq!(line["level"], "ERROR");
            assert!(line["error"].as_str().unwrap().starts_with(named), "{line}");
        }
    };
    let next = new.issue(NAMES);
    folder.write("cert.pem", &next.certificate);
    bad("FLASHSALE_TLS_KEY (--tls-key) isn't the key of the certificate").await;
    folder.write("cert.pem", "-----BEGIN CERTIFICATE-----\nhunter2\n-----END CERTIFICATE-----\n");
    bad("FLASHSALE_TLS_CERT (--tls-cert)").await;
    fs::remove_file(folder.path("cert.pem")).unwrap();
    bad("FLASHSALE_TLS_CERT (--tls-cert) can't be read").await;
    assert!(Caller::of(&old).is_served(&address).await, "the old one is still shown");
    assert!(!process.stdout().join("").contains("hunter2"));

    folder.show(&next);
    assert_eq!(reload(&process, "Credentials read anew").await["level"], "INFO");
    assert!(Caller::of(&new).is_served(&address).await);
    assert!(Caller::of(&old).connect(&address).await.is_err(), "the old one is no longer shown");
    lives_on.health("liveness").await.unwrap();
    drop(lives_on);
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_taken_away_no_longer_lets_in_its_clients() {
    let (authority, before, after) = (Authority::new("ours"), Authority::new("before"), Authority::new("after"));
    let folder = TlsFolder::new(&authority.issue(NAMES));
    folder.write("clients.pem", &before.pem);
    let (process, address) = server(&folder.settings()).await;
    let shows = before.issue(&["till.example"]);
    assert!(Caller::showing(&authority, &shows).is_served(&address).await);
    folder.write("clients.pem", &after.pem);
    reload(&process, "Credentials read anew").await;
    assert!(!Caller::showing(&authority, &shows).is_served(&address).await);
    assert!(Caller::showing(&authority, &after.issue(&["till.example"])).is_served(&address).await);
    stop(process).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_tls_speaks_both_versions_and_says_when_it_ends() {
    let authority = Authority::new("ours");
    let folder = TlsFolder::new(&authority.issue(NAMES));
    let (process, address) = gateway(&folder.settings()).await;
    let web = Caller { asks_for: &[b"http/1.1"], ..Caller::of(&authority) };
    let ask = async |request: String| {
        let mut stream = web.connect(&address).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        // Without close_notify this is an error.
        timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer.lines().next().unwrap_or_default().to_owned()
    };
    let healthz = |header: &str| format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
    assert_eq!(ask(healthz("")).await, "HTTP/1.1 200 OK");
    assert_eq!(ask(healthz(&format!("X-Long: {}\r\n", "x".repeat(15_000)))).await, "HTTP/1.1 200 OK");
    let large = ask(healthz(&format!("X-Long: {}\r\n", "x".repeat(17_000)))).await;
    assert_eq!(large, "HTTP/1.1 431 Request Header Fields Too Large");

    let both = Caller { asks_for: &[b"h2", b"http/1.1"], ..Caller::of(&authority) };
    let stream = both.connect(&address).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    for (bytes, status) in [(10_000, 200), (17_000, 431)] {
        let request = http::Request::get("https://localhost/healthz").header("x-long", "x".repeat(bytes));
        let mut requests = requests.clone().ready().await.unwrap();
        let (answer, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
        assert_eq!(timeout(LIMIT, answer).await.unwrap().unwrap().status(), status);
    }
    connection.abort();
    stop(process).await;
}

#[test]
fn files_that_do_not_work_end_the_start() {
    let authority = Authority::new("ours");
    let (good, other) = (authority.issue(NAMES), authority.issue(NAMES));
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let expired = authority.issue_until(NAMES, Some(yesterday));
    let folder = TlsFolder::new(&good);
    let file = |name: &str, text: &str| folder.write(name, text).to_str().unwrap().to_owned();
    let (cert, key) = (file("cert.pem", &good.certificate), file("key.pem", &good.key));
    let (cert, key) = (("FLASHSALE_TLS_CERT", cert), ("FLASHSALE_TLS_KEY", key));
    let ca = |name: &str, text: &str| ("FLASHSALE_TLS_CLIENT_CA", file(name, text));
    for (settings, line) in [
        (vec![cert.clone()], "FLASHSALE_TLS_KEY (--tls-key) is required with FLASHSALE_TLS_CERT"),
        (vec![key.clone()], "FLASHSALE_TLS_CERT (--tls-cert) is required with FLASHSALE_TLS_KEY"),
        (
            vec![ca("ca.pem", &authority.pem)],
            "FLASHSALE_TLS_CERT (--tls-cert) is required with FLASHSALE_TLS_CLIENT_CA",
        ),
        (
            vec![cert.clone(), ("FLASHSALE_TLS_KEY", file("other.pem", &other.key))],
            "FLASHSALE_TLS_KEY (--tls-key) isn't the key",
        ),
        (
            vec![cert.clone(), ("FLASHSALE_TLS_KEY", "/no/such".to_owned())],
            "FLASHSALE_TLS_KEY (--tls-key) can't be read",
        ),
        (vec![cert.clone(), ("FLASHSALE_TLS_KEY", good.key.clone())], "FLASHSALE_TLS_KEY (--tls-key) can't be read"),
        (
            vec![cert.clone(), ("FLASHSALE_TLS_KEY", cert.1.clone())],
            "FLASHSALE_TLS_KEY (--tls-key) holds no private key",
        ),
        (
            vec![("FLASHSALE_TLS_CERT", key.1.clone()), key.clone()],
            "FLASHSALE_TLS_CERT (--tls-cert) holds no certificate",
        ),
        (
            vec![
                ("FLASHSALE_TLS_CERT", file("old.pem", &expired.certificate)),
                ("FLASHSALE_TLS_KEY", file("old.key", &expired.key)),
            ],
            "FLASHSALE_TLS_CERT (--tls-cert) holds a certificate that expired on",
        ),
        (
            vec![cert.clone(), key.clone(), ca("empty.pem", "")],
            "FLASHSALE_TLS_CLIENT_CA (--tls-client-ca) holds no certificate",
        ),
    ] {
        for (program, own) in [
            (Program::Server, ("DATABASE_URL", "mysql://root@127.0.0.1:1/sale")),
            (Program::Gateway, ("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true")),
        ] {
            let mut command = Command::new(program.path());
            command.env_clear().env(own.0, own.1).envs(settings.clone()).stdin(Stdio::null());
            let output = command.output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), stderr.lines().count()), (Some(2), 1), "{stderr}");
            assert!(stderr.starts_with(&format!("bad setting: {line}")), "{line}: {stderr}");
            assert!(!stderr.contains("PRIVATE KEY"), "{stderr}");
        }
    }
}

/// The database is away, so whoever may call is told that.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificates_name_is_a_principal_and_tokens_do_without_a_certificate() {
    let (authority, clients) = (Authority::new("ours"), Authority::new("clients"));
    let folder = TlsFolder::new(&authority.issue(NAMES));
    folder.write("clients.pem", &clients.pem);
    let by_name = "anna san:dns:anna.example operator\n";
    let token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let hash = base16ct::lower::encode_string(&Sha256::digest(token));
    let principals = folder.write("principals", &format!("{by_name}bert token:sha256:{hash} operator\n"));
    let principals = ("FLASHSALE_PRINCIPALS_FILE", principals.to_str().unwrap().to_owned());
    let (process, address) = server(&[folder.settings(), vec![principals]].concat()).await;

    let code = async |caller: Caller<'_>, token: Option<&str>| {
        let clients = caller.clients(&address).await.unwrap();
        let mut request = tonic::Request::new(GetSaleStatsRequest { product_id: 1 });
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        clients.admin.clone().get_sale_stats(request).await.unwrap_err().code()
    };
    let (anna, eve) = (clients.issue(&["Anna.Example"]), clients.issue(&["eve.example"]));
    let none = || Caller::of(&authority);
    assert_eq!(code(Caller::showing(&authority, &anna), None).await, Code::Unavailable);
    assert_eq!(code(Caller::showing(&authority, &eve), None).await, Code::Unauthenticated);
    assert_eq!(code(none(), None).await, Code::Unauthenticated);
    assert_eq!(code(none(), Some(token)).await, Code::Unavailable);
    let strangers = Authority::new("others").issue(&["anna.example"]);
    assert!(!Caller::showing(&authority, &strangers).is_served(&address).await, "what is shown is verified");

    // Without a token in the file, a certificate is demanded again.
    folder.write("principals", by_name);
    reload(&process, "Credentials read anew").await;
    assert!(!none().is_served(&address).await);
    assert_eq!(code(Caller::showing(&authority, &anna), None).await, Code::Unavailable);
    stop(process).await;
}
