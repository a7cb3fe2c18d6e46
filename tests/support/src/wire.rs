//! Calls below the level of a gRPC client.
//!
//! A call can have any header and any bytes, no client's timer ends it, and the connection can be reset.

use std::{io::Cursor, time::Duration};

use h2::{
    RecvStream,
    client::{Builder, SendRequest},
};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tonic::{Code, Status};

const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Holds one HTTP/2 connection to a server; a drop resets it, also in the middle of a call.
pub struct Wire {
    address: String,
    requests: SendRequest<Cursor<Vec<u8>>>,
    connection: JoinHandle<()>,
}

impl Wire {
    /// Connects to the server at `address`.
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_zero_linger().unwrap();
        let (requests, connection) = Builder::new().handshake(stream).await.unwrap();
        let connection = tokio::spawn(async move {
            // A connection that breaks fails the calls on it.
            let _ = connection.await;
        });
        Self { address: address.to_owned(), requests, connection }
    }

    /// Connects, and takes no byte of an answer's body. Headers aren't counted by the window of HTTP/2.
    pub async fn connect_without_reading(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_zero_linger().unwrap();
        let mut builder = Builder::new();
        builder.initial_window_size(0).initial_max_send_streams(10_000);
        let (requests, connection) = builder.handshake(stream).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { address: address.to_owned(), requests, connection }
    }

    /// Calls `path`, such as `flashsale.v1.FlashSaleService/CreateHold`, with further headers.
    pub async fn call<A: Message + Default>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        message: &impl Message,
    ) -> Result<A, Status> {
        let answer = self.send(path, headers, framed(&message.encode_to_vec())).await?;
        Ok(A::decode(&answer[5..]).unwrap())
    }

    /// Sends `body` as it is and returns the body of the answer, if the status is OK.
    pub async fn send(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Vec<u8>, Status> {
        let answer = timeout(ANSWER_LIMIT, self.exchange(path, headers, body)).await;
        answer
            .unwrap_or_else(|_| panic!("no answer to {path}"))
            .unwrap_or_else(|broken| Err(Status::new(Code::Unknown, format!("the connection broke: {broken}"))))
    }

    async fn exchange(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Result<Vec<u8>, Status>, h2::Error> {
        let WireAnswer { headers, body, trailers } = self.answer(path, headers, body).await?;
        let status = status(trailers.as_ref().unwrap_or(&headers));
        Ok(if status.code() == Code::Ok { Ok(body) } else { Err(status) })
    }

    /// Begins a call: sends `body` as it is and waits for the head of the answer. Its body stays unread.
    pub async fn begin(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<http::Response<RecvStream>, h2::Error> {
        let uri = format!("http://{}/{path}", self.address);
        let mut request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut requests = self.requests.clone().ready().await?;
        let (answer, mut stream) = requests.send_request(request.body(()).unwrap(), false)?;
        // The server may have answered already.
        let _ = stream.send_data(Cursor::new(body), true);
        answer.await
    }

    /// Sends `body` as it is and returns all that comes back.
    pub async fn answer(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Result<WireAnswer, h2::Error> {
        let (head, mut body) = self.begin(path, headers, body).await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?;
        Ok(WireAnswer { headers: head.headers, body: bytes, trailers })
    }
}

/// Holds an answer as it came.
#[derive(Debug)]
pub struct WireAnswer {
    /// The headers, which have the status where there is no body.
    pub headers: HeaderMap,
    /// The bytes of the body.
    pub body: Vec<u8>,
    /// The trailers, which have the status where there is a body.
    pub trailers: Option<HeaderMap>,
}

impl WireAnswer {
    /// Returns how many bytes the headers and trailers have, counted as HTTP/2 limits them.
    pub fn header_bytes(&self) -> usize {
        let all = self.headers.iter().chain(self.trailers.iter().flatten());
        all.map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
    }

    /// Returns the status.
    pub fn status(&self) -> Status {
        status(self.trailers.as_ref().unwrap_or(&self.headers))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Returns the status that headers or trailers have.
pub fn status(headers: &HeaderMap) -> Status {
    Status::from_header_map(headers).unwrap_or_else(|| panic!("no grpc-status in {headers:?}"))
}

/// Returns a message as gRPC sends it: a zero for "not compressed", the length, the bytes.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], message].concat()
}
