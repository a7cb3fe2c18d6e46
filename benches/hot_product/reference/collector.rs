//! A collector of spans, by OTLP over gRPC, that takes them and does nothing with them.
//!
//! It doesn't even decode them. A real collector is on another machine, so its work must not count for the server's.

use axum::body::Bytes;
use h2::{
    RecvStream,
    server::{Builder, SendResponse},
};
use http::{HeaderMap, Response};
use tokio::net::{TcpListener, TcpStream};

/// Limits the bytes that may be on their way, as a collector does that is far away.
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// The answer to an export: a gRPC message without fields.
const TAKEN: [u8; 5] = [0; 5];

pub(super) async fn serve(address: &str) {
    let listener = TcpListener::bind(address).await.unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(take_all(stream));
    }
}

async fn take_all(stream: TcpStream) -> Result<(), h2::Error> {
    let _gone = stream.set_nodelay(true);
    let mut builder = Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
    let mut connection = builder.handshake(stream).await?;
    while let Some(exported) = connection.accept().await {
        let (request, answer) = exported?;
        tokio::spawn(take(request.into_body(), answer));
    }
    Ok(())
}

async fn take(mut spans: RecvStream, mut answer: SendResponse<Bytes>) -> Result<(), h2::Error> {
    while let Some(part) = spans.data().await {
        let bytes = part?.len();
        spans.flow_control().release_capacity(bytes)?;
    }
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut stream = answer.send_response(head, false)?;
    stream.send_data(Bytes::from_static(&TAKEN), false)?;
    stream.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]))
}
