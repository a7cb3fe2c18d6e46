//! The client against a server that is played frame by frame. A library would not answer a call that was given up.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use flashsale_proto::{CreateHoldRequest, GetProductRequest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::Code;

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GO_AWAY: u8 = 7;
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
        let (kind, stream, _) = self.next_whole().await?;
        Ok((kind, stream))
    }

    /// Reads the next frame, and returns its type, its stream and its bytes.
    async fn next_whole(&mut self) -> io::Result<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await?;
        let [high, middle, low, kind, _flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, high, middle, low]).try_into().unwrap()];
        self.0.read_exact(&mut payload).await?;
        Ok((kind, u32::from_be_bytes(stream), payload))
    }

    /// Reads up to the next call's message, and returns the call's stream and the message.
    async fn next_message(&mut self) -> io::Result<(u32, Vec<u8>)> {
        loop {
            match self.next_whole().await? {
                (DATA, stream, message) if !message.is_empty() => return Ok((stream, message)),
                _ => {}
            }
        }
    }

    /// Reads up to the next call, and returns its stream.
    async fn next_call(&mut self) -> io::Result<u32> {
        loop {
            if let (HEADERS, stream) = self.next().await? {
                return Ok(stream);
            }
        }
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await
    }

    /// Answers a call with NOT_FOUND and nothing else.
    async fn answer(&mut self, stream: u32) -> io::Result<()> {
        self.answer_with(stream, Code::NotFound).await
    }

    /// Answers a call with a code and nothing else.
    async fn answer_with(&mut self, stream: u32, code: Code) -> io::Result<()> {
        let code = i32::from(code).to_string();
        let field = |name: &str, value: &str| {
            let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            [&[0][..], &text(name), &text(value)].concat()
        };
        // The first byte is the index of `:status: 200` in HPACK's table.
        let fields = [&[0x88][..], &field("content-type", "application/grpc"), &field("grpc-status", &code)].concat();
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

/// Listens, and makes a client that calls there.
async fn listen(repeat: Repeat) -> (TcpListener, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let builder = Client::builder([address]).unwrap().deadline(Duration::from_secs(60)).repeat(repeat);
    (listener, builder.connect().unwrap())
}

/// Whether a call got the answer of [`Frames::answer`].
async fn is_answered(client: &Client) -> bool {
    let error = client.get_product(GetProductRequest { product_id: 1 }).await.unwrap_err();
    match error {
        CallError::Unexplained(status) if status.code() == Code::NotFound => true,
        CallError::TimedOut | CallError::NotSent(_) | CallError::Broken(_) => false,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn answers_to_calls_that_were_given_up_do_not_break_the_connection() {
    let (listener, patient) = listen(Repeat::NotSent).await;
    let late = Arc::new(AtomicUsize::new(0));
    let server = tokio::spawn(answer_late(listener, Arc::clone(&late)));
    let hasty = patient.within(Duration::from_millis(500));
    // A busy machine may not send every call in time, so the number of late answers is counted.
    while late.load(Ordering::Relaxed) < LATE {
        assert!(!server.is_finished(), "the connection broke after {late:?} late answers");
        let calls = (0..LATE / 4).map(|_| hasty.clone());
        let given_up: JoinSet<bool> = calls.map(|hasty| async move { is_answered(&hasty).await }).collect();
        given_up.join_all().await;
    }
    for _ in 0..50 {
        assert!(is_answered(&patient).await);
    }
    assert!(!server.is_finished());
    server.abort();
}

/// Turns away the first call on each of `connections` connections, and answers on the next one.
async fn turn_away(listener: TcpListener, connections: usize, kind: u8, reason: h2::Reason) -> io::Result<()> {
    for _ in 0..connections {
        let mut frames = Frames::accept(&listener).await?;
        let stream = frames.next_call().await?;
        let reason = u32::from(reason).to_be_bytes();
        match kind {
            // No call was taken: the last one has the number 0.
            GO_AWAY => frames.send(GO_AWAY, 0, 0, &[[0; 4], reason].concat()).await?,
            _ => frames.send(kind, 0, stream, &reason).await?,
        }
        if kind == RST_STREAM {
            let stream = frames.next_call().await?;
            return frames.answer(stream).await;
        }
    }
    let mut frames = Frames::accept(&listener).await?;
    let stream = frames.next_call().await?;
    frames.answer(stream).await
}

#[tokio::test]
async fn a_call_that_the_server_has_not_taken_is_repeated_at_once_up_to_three_times() {
    for (connections, kind, reason) in [
        (1, GO_AWAY, h2::Reason::NO_ERROR),
        (3, GO_AWAY, h2::Reason::NO_ERROR),
        (1, RST_STREAM, h2::Reason::REFUSED_STREAM),
    ] {
        let (listener, client) = listen(Repeat::NotSent).await;
        let server = tokio::spawn(turn_away(listener, connections, kind, reason));
        assert!(is_answered(&client).await, "{connections} {kind} {reason:?}");
        server.await.unwrap().unwrap();
    }
    let (listener, client) = listen(Repeat::NotSent).await;
    let server = tokio::spawn(turn_away(listener, 4, GO_AWAY, h2::Reason::NO_ERROR));
    let error = client.get_product(GetProductRequest { product_id: 1 }).await.unwrap_err();
    assert!(matches!(error, CallError::NotSent(_)), "{error:?}");
    server.abort();
}

#[tokio::test]
async fn a_call_that_may_have_been_taken_is_repeated_only_where_the_client_repeats_those() {
    let failure = [(GO_AWAY, h2::Reason::INTERNAL_ERROR), (RST_STREAM, h2::Reason::CANCEL)];
    for (kind, reason) in failure {
        let (listener, client) = listen(Repeat::NotSent).await;
        let server = tokio::spawn(turn_away(listener, 1, kind, reason));
        let error = client.get_product(GetProductRequest { product_id: 1 }).await.unwrap_err();
        assert!(matches!(error, CallError::Broken(_)), "{error:?}");
        server.abort();

        let (listener, client) = listen(Repeat::Temporary).await;
        let server = tokio::spawn(turn_away(listener, 1, kind, reason));
        assert!(is_answered(&client).await, "{kind} {reason:?}");
        server.await.unwrap().unwrap();
    }
}

/// Refuses the first wish on a connection by REFUSED_STREAM, and returns what both attempts sent.
async fn refuse_the_first(listener: TcpListener) -> io::Result<[Vec<u8>; 2]> {
    let mut frames = Frames::accept(&listener).await?;
    let (_, first) = frames.next_message().await?;
    frames.send(RST_STREAM, 0, 1, &u32::from(h2::Reason::REFUSED_STREAM).to_be_bytes()).await?;
    let (stream, second) = frames.next_message().await?;
    frames.answer(stream).await?;
    Ok([first, second])
}

/// HAProxy refuses so a call that a server had begun, and whose connection then broke.
#[tokio::test]
async fn a_wish_that_was_refused_unheard_has_the_same_id_whatever_is_repeated() {
    for repeat in [Repeat::NotSent, Repeat::Temporary] {
        let (listener, client) = listen(repeat).await;
        let server = tokio::spawn(refuse_the_first(listener));
        let wish = CreateHoldRequest { product_id: 1, qty: 1, ..CreateHoldRequest::default() };
        assert!(client.create_hold(wish).await.is_err());
        let [first, second] = server.await.unwrap().unwrap();
        assert!(first.len() > 32, "an id was made up");
        assert_eq!(first, second);
    }
}

/// Answers every call on one connection with UNAVAILABLE, and counts them.
async fn be_unavailable(listener: TcpListener, attempts: Arc<AtomicUsize>) -> io::Result<()> {
    let mut frames = Frames::accept(&listener).await?;
    loop {
        let stream = frames.next_call().await?;
        attempts.fetch_add(1, Ordering::Relaxed);
        frames.answer_with(stream, Code::Unavailable).await?;
    }
}

#[tokio::test]
async fn callers_of_a_server_that_is_unavailable_spend_the_budget_and_no_more() {
    const CALLS: usize = 200;
    let (listener, client) = listen(Repeat::Temporary).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let server = tokio::spawn(be_unavailable(listener, Arc::clone(&attempts)));
    let calls = (0..CALLS).map(|_| client.clone());
    let calls: JoinSet<CallError> = calls
        .map(|client| async move { client.get_product(GetProductRequest { product_id: 1 }).await.unwrap_err() })
        .collect();
    for error in calls.join_all().await {
        assert!(matches!(error, CallError::Broken(_)), "{error:?}");
    }
    // Ten a second for the ten seconds of the window, and one for every fifth call.
    let attempts = attempts.load(Ordering::Relaxed);
    assert!((CALLS + 100..=CALLS + 100 + CALLS / 5 + 20).contains(&attempts), "{attempts}");
    server.abort();
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_deadline() {
    let (_listener, client) = listen(Repeat::Temporary).await;
    let (client, begun) = (client.within(Duration::from_millis(300)), Instant::now());
    let error = client.get_product(GetProductRequest { product_id: 1 }).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut), "{error:?}");
    assert!(begun.elapsed() >= Duration::from_millis(300) && begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn each_attempt_has_the_callers_metadata_what_is_added_and_the_time_that_is_left() {
    let builder = Client::builder(["http://127.0.0.1:1"]).unwrap().deadline(Duration::from_secs(5));
    let client = builder.metadata(|metadata| _ = metadata.insert("authorization", "Bearer x".parse().unwrap()));
    let client = client.connect().unwrap();
    let mut request = Request::new(());
    request
        .metadata_mut()
        .insert("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap());
    for attempts in 0..3 {
        let left = Instant::now() + Duration::from_secs(4);
        let attempt = client.attempt(&request, attempts, left);
        let text = |name: &str| attempt.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(text("authorization").unwrap(), "Bearer x");
        assert!(text("traceparent").unwrap().starts_with("00-4bf9"));
        assert_eq!(text(PREVIOUS_ATTEMPTS), (attempts > 0).then(|| attempts.to_string()));
        let micros: u64 = text("grpc-timeout").unwrap().strip_suffix('u').unwrap().parse().unwrap();
        assert!((3_000_000..=4_000_000).contains(&micros), "{micros}");
    }
}
