//! How the connections of a listener speak.

use std::time::Duration;

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};

use super::counts::Counts;

/// Limits the requests of one HTTP/2 connection at the same time. Further requests wait in the peer.
const REQUESTS_PER_CONNECTION_MAX: u32 = 200;
/// Limits the requests of an HTTP/2 connection that its peer may have given up before this program has seen them. One
/// more closes the connection with all its requests.
///
/// While the program is paused, each request of a load balancer can time out, and so can the request that takes its
/// place. The HTTP/2 library's default is 20.
const GIVEN_UP_PER_CONNECTION_MAX: usize = 2 * REQUESTS_PER_CONNECTION_MAX as usize;
/// Says how often an HTTP/2 connection is pinged. One that doesn't answer is closed, so that a vanished peer's requests
/// end.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Limits how long a ping may go without an answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Limits the bytes of a request's head: what nginx and haproxy take, too. A larger one is 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Limits the same as HTTP/2 counts it: RFC 9113, section 6.5.2.
const HEAD_LIST_BYTES_MAX: u32 = 16 * 1024;

/// Says when an HTTP/2 connection of a browser or load balancer is told to go: it could say nothing for ever.
const HTTP2_AGE_MAX: Duration = Duration::from_secs(5 * 60);
/// Limits how long a connection may stay after it was told to go. Each call has ended by then: 60 s to its answer, and
/// 100 s to be read.
pub const LEAVE_TIME_MAX: Duration = Duration::from_secs(180);

/// Says how the connections of a listener speak.
#[derive(Debug)]
pub struct Protocol {
    /// The versions of HTTP and their limits.
    pub http: auto::Builder<TokioExecutor>,
    /// How long a connection may take to its first request, with its handshake. `None`: for ever, once it has said that
    /// it speaks HTTP/2.
    pub head_time_max: Option<Duration>,
    /// When an HTTP/2 connection is told to go, where the listener sets no age. `None`: never.
    pub http2_age_max: Option<Duration>,
    /// How long a connection may stay after it was told to go.
    pub leave_time_max: Duration,
    /// Whether a write waits for the tasks that are ready, so that answers are written together.
    pub corks: bool,
    /// Where connections are counted.
    pub counts: &'static Counts,
}

impl Protocol {
    /// Returns HTTP/1.1 and HTTP/2 for load balancers, browsers and scripts.
    ///
    /// `head_time_max` is how long the head of a request may take, from the start of the connection or the answer
    /// before. So it is also how long an idle HTTP/1.1 connection stays open.
    pub fn web(head_time_max: Duration, counts: &'static Counts) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1().timer(TokioTimer::new()).header_read_timeout(head_time_max).max_buf_size(HEAD_BYTES_MAX);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(REQUESTS_PER_CONNECTION_MAX)
            .max_pending_accept_reset_streams(GIVEN_UP_PER_CONNECTION_MAX)
            .max_header_list_size(HEAD_LIST_BYTES_MAX)
            .keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT);
        Self {
            http,
            head_time_max: Some(head_time_max),
            http2_age_max: Some(HTTP2_AGE_MAX),
            leave_time_max: LEAVE_TIME_MAX,
            corks: false,
            counts,
        }
    }
}
