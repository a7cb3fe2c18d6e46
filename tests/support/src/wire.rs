//! Calls below the level of a gRPC client.
//!
//! A call can have any header and any bytes, no client's timer ends it, and the connection can be reset.

use std::{io::Cursor, time::Duration};

use h2::client::{Builder, SendRequest};
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
        let uri = format!("http://{}/{path}", self.address);
        let mut request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut requests = self.requests.clone().ready().await?;
        let (answer, mut stream) = requests.send_request(request.body(()).unwrap(), false)?;
        // The server may have answered already.
        let _ = stream.send_data(Cursor::new(body), true);
        let (head, mut body) = answer.await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        let trailers = body.trailers().await?;
        let status = status(trailers.as_ref().unwrap_or(&head.headers));
        Ok(if status.code() == Code::Ok { Ok(bytes) } else { Err(status) })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn status(headers: &HeaderMap) -> Status {
    Status::from_header_map(headers).unwrap_or_else(|| panic!("no grpc-status in {headers:?}"))
}

/// Returns a message as gRPC sends it: a zero for "not compressed", the length, the bytes.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], &length.to_be_bytes()[..], message].concat()
}
