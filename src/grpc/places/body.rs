//! The body of an answer, which keeps the place of its call until it has been read.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue};
use hyper::body::{Body, Buf, Bytes, Frame, SizeHint};

use super::Kept;

/// Ends a stream when it is ready.
pub(super) type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Wraps the body of an answer. Each piece of it keeps the place as well, until its bytes have gone to the system.
#[derive(Default)]
pub(in crate::grpc) struct KeptBody<R> {
    body: R,
    keeps: Option<Arc<Kept>>,
    end: Option<End>,
}

impl<R> fmt::Debug for KeptBody<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptBody").field("keeps", &self.keeps).finish_non_exhaustive()
    }
}

impl<R> KeptBody<R> {
    /// Wraps a body, which `end` ends before its time.
    pub(super) fn new(body: R, keeps: Kept, end: Option<End>) -> Self {
        Self { body, keeps: Some(Arc::new(keeps)), end }
    }
}

impl<R: Body<Data = Bytes> + Unpin + Default> Body for KeptBody<R> {
    type Data = KeptBytes;
    type Error = R::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<KeptBytes>, R::Error>>> {
        if let Some(end) = &mut self.end
            && end.as_mut().poll(context).is_ready()
        {
            self.end = None;
            // What is left of the stream is dropped, and its caller hears that it is over.
            self.body = R::default();
            let over =
                HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
            return Poll::Ready(Some(Ok(Frame::trailers(over))));
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(
            frame.map(|frame| {
                frame.map(|frame| frame.map_data(|bytes| KeptBytes { bytes, _keeps: self.keeps.clone() }))
            }),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Is a piece of an answer.
#[derive(Debug)]
pub(in crate::grpc) struct KeptBytes {
    bytes: Bytes,
    _keeps: Option<Arc<Kept>>,
}

impl Buf for KeptBytes {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}
