use std::{
    collections::HashMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::HeaderValue;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::ConnectError;

use super::*;

fn from_wire(code: Code) -> CallError {
    CallError::from(Status::new(code, "said by something at that address"))
}

#[test]
fn an_error_info_of_the_server_is_a_refusal_whatever_the_code() {
    for code in [Code::NotFound, Code::Cancelled, Code::Unavailable, Code::Unknown] {
        let details = tonic_types::ErrorDetails::with_error_info("SOME_REASON", ERROR_DOMAIN, HashMap::new());
        let error = CallError::from(Status::with_error_details(code, "text", details));
        assert!(matches!(&error, CallError::Refused { info, .. } if info.reason == "SOME_REASON"), "{error:?}");
    }
    for (reason, domain) in [("SOME_REASON", "googleapis.com"), ("", ERROR_DOMAIN)] {
        let details = tonic_types::ErrorDetails::with_error_info(reason, domain, HashMap::new());
        let error = CallError::from(Status::with_error_details(Code::Internal, "text", details));
        assert!(matches!(error, CallError::Unexplained(_)), "{error:?}");
    }
}

#[test]
fn a_status_without_a_reason_is_told_apart_by_where_it_was_made() {
    for code in [Code::Cancelled, Code::DeadlineExceeded] {
        assert!(matches!(from_wire(code), CallError::TimedOut), "{code:?}");
    }
    assert!(matches!(from_wire(Code::Unavailable), CallError::Unreachable(_)));
    for code in [Code::Unknown, Code::Internal, Code::NotFound, Code::Unimplemented] {
        assert!(matches!(from_wire(code), CallError::Unexplained(_)), "{code:?}");
    }

    let expired = CallError::from(Status::from_error(Box::new(Wrapped(TimeoutExpired(())))));
    assert!(matches!(expired, CallError::TimedOut), "{expired:?}");
    let refused = ConnectError("connection refused".into());
    let away = CallError::from(Status::from_error(Box::new(Wrapped(refused))));
    assert!(matches!(away, CallError::Unreachable(_)), "{away:?}");
    let broken = std::io::Error::other("connection reset");
    let broken = CallError::from(Status::from_error(Box::new(Wrapped(broken))));
    assert!(matches!(broken, CallError::Unreachable(_)), "{broken:?}");
}

#[test]
fn the_trace_context_is_passed_on_and_nothing_else_or_oversized() {
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_static(traceparent));
    headers.insert("tracestate", HeaderValue::from_static("vendor=1"));
    headers.insert("authorization", HeaderValue::from_static("Basic secret"));
    headers.insert("grpc-timeout", HeaderValue::from_static("1n"));
    let passed = trace_headers(&headers);
    assert_eq!(passed.len(), 2);
    assert_eq!(passed["traceparent"], traceparent);
    assert_eq!(passed["tracestate"], "vendor=1");

    let huge = "v".repeat(TRACE_HEADER_BYTES_MAX + 1);
    headers.insert("tracestate", huge.parse().unwrap());
    headers.insert("traceparent", HeaderValue::from_bytes(b"\xff").unwrap());
    assert!(trace_headers(&headers).is_empty());
}

#[tokio::test]
async fn a_call_carries_its_deadline_and_the_callers_trace_context() {
    let url = "http://127.0.0.1:50051".parse().unwrap();
    let upstream = Upstream::new(&url, Duration::from_secs(5)).unwrap();
    let mut headers = HeaderMap::new();
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", HeaderValue::from_static(traceparent));
    let request = upstream.request(&ClientCall::start("any/Method", "server", None), &headers, ());
    assert_eq!(request.metadata().get("traceparent").unwrap(), traceparent);
    assert_eq!(request.metadata().get("grpc-timeout").unwrap(), "5000000u");
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
/// Combines the flags END_HEADERS and END_STREAM.
const WHOLE: u8 = 0x4 | 0x1;

/// Plays the server on one HTTP/2 connection, frame by frame. A library would not answer a call that was given up.
struct Frames(TcpStream);

impl Frames {
    async fn accept(listener: &TcpListener) -> io::Result<Self> {
        let (mut stream, _) = listener.accept().await?;
        stream.read_exact(&mut [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).await?;
        let mut frames = Self(stream);
        frames.send(SETTINGS, 0, 0, &[]).await?;
        Ok(frames)
    }

    /// Reads the next frame, and returns its type and its stream.
    async fn next(&mut self) -> io::Result<(u8, u32)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let [high, middle, low, kind, _flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]).try_into().unwrap()];
        self.0.read_exact(&mut payload).await?;
        Ok((kind, u32::from_be_bytes(stream)))
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await
    }

    /// Answers a call with NOT_FOUND and nothing else.
    async fn answer(&mut self, stream: u32) -> io::Result<()> {
        let field = |name: &str, value: &str| {
            let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            [&[0][..], &text(name), &text(value)].concat()
        };
        // The first byte is the index of `:status: 200` in HPACK's table.
        let fields = [&[0x88][..], &field("content-type", "application/grpc"), &field("grpc-status", "5")].concat();
        self.send(HEADERS, WHOLE, stream, &fields).await
    }
}

/// Counts the late answers of the test. By default the HTTP/2 library closes a connection after far fewer of them.
///
/// It ignores fifty a second.
const LATE: usize = 2000;

/// Answers on one connection the calls that were given up, and other calls only after [`LATE`] of these.
async fn answer_late(listener: TcpListener, late: Arc<AtomicUsize>) -> io::Result<()> {
    let mut frames = Frames::accept(&listener).await?;
    loop {
        match frames.next().await? {
            (RST_STREAM, stream) => {
                frames.answer(stream).await?;
                late.fetch_add(1, Ordering::Relaxed);
            }
            (HEADERS, stream) if late.load(Ordering::Relaxed) >= LATE => frames.answer(stream).await?,
            _ => {}
        }
    }
}

#[tokio::test]
async fn answers_to_calls_that_were_given_up_do_not_break_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let late = Arc::new(AtomicUsize::new(0));
    let server = tokio::spawn(answer_late(listener, Arc::clone(&late)));
    let hasty = Upstream::new(&url, Duration::from_millis(500)).unwrap();
    let patient = Upstream { timeout: Duration::from_secs(60), ..hasty.clone() };
    let call = |upstream: Upstream| async move {
        upstream.get_product(&HeaderMap::new(), GetProductRequest { product_id: 1 }).await.unwrap_err()
    };
    // A busy machine may not send every call in time, so the number of late answers is counted.
    while late.load(Ordering::Relaxed) < LATE {
        assert!(!server.is_finished(), "the connection broke after {late:?} late answers");
        let given_up: JoinSet<CallError> = (0..LATE / 4).map(|_| call(hasty.clone())).collect();
        given_up.join_all().await;
    }
    for _ in 0..50 {
        let error = call(patient.clone()).await;
        assert!(matches!(&error, CallError::Unexplained(status) if status.code() == Code::NotFound), "{error:?}");
    }
    assert!(!server.is_finished());
    server.abort();
}

/// Wraps an error like a transport does: the cause is its source.
#[derive(Debug)]
struct Wrapped<E>(E);

impl<E: Error + 'static> fmt::Display for Wrapped<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("transport error")
    }
}

impl<E: Error + 'static> Error for Wrapped<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
