//! Connections whose peer doesn't go when it is told to.

use http_body_util::Empty;
use hyper::{body::Bytes, service::service_fn};
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    time::{error::Elapsed, timeout},
};

use super::*;
use crate::listener::METRICS;

const SHORT: Duration = Duration::from_millis(300);
const LIMIT: Duration = Duration::from_secs(30);
/// Is the ping after which HTTP/2's library takes no more calls. Until it is answered, it takes them.
const PING_OF_THE_END: &[u8] = &[0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Is an answer to settings or a ping.
const ACK: u8 = 1;
/// Asks for /, by the static table of RFC 7541 and the authority x.
const GET: [u8; 6] = [0x82, 0x86, 0x84, 0x41, 1, b'x'];

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// Serves one connection, and returns the other end.
async fn served(age_max: Option<Duration>, http2_age_max: Option<Duration>, leave_time_max: Duration) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    tokio::spawn(async move {
        let protocol = Protocol { http2_age_max, leave_time_max, ..Protocol::web(LIMIT * 2, &METRICS) };
        let service = service_fn(async |_| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
        let (_tell, told) = watch::channel(Told::Serve);
        serve(stream, None, &protocol, service, age_max, told).await;
    });
    peer
}

/// Calls once over HTTP/2, and answers everything but the ping of the end. Returns the kinds of frames until the end.
async fn stay(mut peer: TcpStream) -> Vec<u8> {
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*frame(SETTINGS, 0, 0, &[]), &*frame(1, 5, 1, &GET)].concat();
    peer.write_all(&begin).await.unwrap();
    let mut kinds = Vec::new();
    let mut head = [0; 9];
    while peer.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; usize::from(head[1]) * 256 + usize::from(head[2])];
        peer.read_exact(&mut payload).await.unwrap();
        kinds.push(head[3]);
        match head[3] {
            SETTINGS | PING if head[4] == ACK || payload == PING_OF_THE_END => {}
            kind @ SETTINGS => peer.write_all(&frame(kind, ACK, 0, &[])).await.unwrap(),
            kind @ PING => peer.write_all(&frame(kind, ACK, 0, &payload)).await.unwrap(),
            _ => {}
        }
    }
    kinds
}

async fn stayed(peer: TcpStream, limit: Duration) -> Result<Vec<u8>, Elapsed> {
    timeout(limit, stay(peer)).await
}

#[tokio::test]
async fn a_peer_that_does_not_go_is_cut_when_its_time_to_leave_is_over() {
    for (age_max, http2_age_max) in [(Some(SHORT), None), (None, Some(SHORT))] {
        let begun = Instant::now();
        let kinds = stayed(served(age_max, http2_age_max, SHORT).await, LIMIT).await.expect("an end");
        assert!(kinds.contains(&GOAWAY), "{kinds:?}");
        assert!(begun.elapsed() >= 2 * SHORT, "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_peer_that_was_not_told_to_go_stays() {
    assert!(stayed(served(None, None, SHORT).await, 10 * SHORT).await.is_err());
}

/// HTTP/1.1 can't say "go after this call": a request that comes meanwhile would be lost.
#[tokio::test]
async fn an_http1_connection_is_not_told_to_go_by_the_age_of_http2() {
    let mut peer = served(None, Some(SHORT), SHORT).await;
    let begun = Instant::now();
    while begun.elapsed() < 5 * SHORT {
        peer.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 4096];
        let length = timeout(LIMIT, peer.read(&mut answer)).await.unwrap().unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer[..length]));
    }
}
