//! What a listener does with more connections than it has room for.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{
    database::TestDatabase,
    mysqld::free_port,
    process::{Process, Program},
    programs::{STOP_LIMIT, ServerProgram},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);
const TOO_MANY: &str = "A connection was closed: there are too many";
const NO_FILES: &str = "Connections can't be accepted";
/// Leaves room for what the gateway opens itself, and for some connections.
const FILES_MAX: usize = 40;

/// Starts a gateway by a shell that first runs `prepare`.
async fn gateway(prepare: &str, settings: &[(&str, &str)]) -> (Process, String, String) {
    let probes = format!("127.0.0.1:{}", free_port());
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!(r#"{prepare}; exec "$0""#)]).arg(Program::Gateway.path()).env_clear();
    command.env("FLASHSALE_GATEWAY_LISTEN", "127.0.0.1:0").env("FLASHSALE_METRICS_LISTEN", &probes);
    command.env("FLASHSALE_SERVER_URL", "http://127.0.0.1:1").env("FLASHSALE_WEBHOOK_ALLOW_UNSIGNED", "true");
    let process = Process::run({
        command.envs(settings.iter().copied());
        command
    });
    let address = process.address(LIMIT).await;
    (process, address, probes)
}

/// Opens a connection, and tells whether a request on it is answered.
async fn ask(address: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.ok()?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.ok()?;
    assert_eq!(&answer, b"HTTP/1.1 200");
    Some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_more_than_there_is_room_for_is_closed() {
    let (gateway, address, probes) = gateway("true", &[("FLASHSALE_MAX_CONNECTIONS", "3")]).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(ask(&address).await.unwrap());
    }
    for _ in 0..3 {
        assert!(ask(&address).await.is_none(), "a fourth connection is closed");
    }
    // Each address has room of its own.
    drop(ask(&probes).await.unwrap());
    open.pop();
    wait::eventually(LIMIT, "room for one", async || ask(&address).await.is_some()).await;
    gateway.wait_for_line(TOO_MANY, LIMIT).await;
    assert_eq!(gateway.lines_of(TOO_MANY).len(), 1, "said once a minute");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_files_a_listener_rests_says_so_once_and_goes_on() {
    let (gateway, address, _) = gateway(&format!("ulimit -n {FILES_MAX}"), &[]).await;
    let mut open = Vec::new();
    for _ in 0..2 * FILES_MAX {
        open.push(TcpStream::connect(&address).await.unwrap());
    }
    gateway.wait_for_line(NO_FILES, LIMIT).await;
    let waiting = tokio::spawn({
        let address = address.clone();
        async move { ask(&address).await }
    });
    drop(open);
    assert!(waiting.await.unwrap().is_some(), "what has waited is served");
    assert!(ask(&address).await.is_some());
    assert_eq!(gateway.lines_of(NO_FILES).len(), 1, "said once a minute");
}

/// A silent connection has not said that it is a caller's, so its age ends it, and so does a stop.
#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_to_a_server_keep_neither_their_places_nor_a_stop() {
    let database = TestDatabase::create("silent_connections").await;
    // One more for the caller that the start makes.
    let settings = [("FLASHSALE_MAX_CONNECTIONS", "4"), ("FLASHSALE_MAX_CONNECTION_AGE", "1s")];
    let mut server = ServerProgram::start(&database.url(), &settings).await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(&server.address).await.unwrap());
    }
    for stream in &mut silent {
        // The server's settings may come first. A reset is an end, too.
        let _ended = timeout(LIMIT, stream.read_to_end(&mut Vec::new())).await.expect("the end of a silent connection");
    }
    let _silent = TcpStream::connect(&server.address).await.unwrap();
    // A connection ends after a second, and a call that is about to go out on it fails in the client.
    wait::eventually(LIMIT, "an answer", async || server.clients.health("").await.is_ok()).await;
    let told = Instant::now();
    server.process.terminate();
    assert_eq!(server.process.wait_exit(STOP_LIMIT).await, 0);
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
}
