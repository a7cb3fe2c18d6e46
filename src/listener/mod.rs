//! Takes connections and serves HTTP on them: gRPC, the gateway, and the metrics address all come through here.
//!
//! The loop is the program's own, since those of the libraries lose answers and watch nothing:
//!
//! - A connection that is closed while its peer still sends is reset, and a reset throws away answers on their way. Here
//!   a connection ends by `linger`: it is shut down for writing, and read until the peer has ended as well.
//! - A connection that has reached its age is told to go (GOAWAY), and calls on it are never cut. So callers meet the
//!   servers that came later.
//! - A listener has room for a number of connections. One more is closed at once, and counted.
//! - TLS begins in the connection's own task, so a slow handshake holds up nobody. The place of the connection is taken
//!   before it.
//! - A peer that says nothing for 10 s, or that doesn't read, is given up: it would keep its place for ever. So is one that
//!   doesn't take a single answer.
//! - Where accepting fails, as with too many open files, the loop rests for half a second and says so once a minute.

mod accept;
mod connection;
mod counts;
mod files;
mod peer;
mod protocol;
mod stream;
mod tls;
mod unread;

use std::{io, net::SocketAddr, time::Duration};

use tokio::net::{TcpListener, TcpSocket};

pub use accept::serve;
pub use counts::{CALLS, Counts, METRICS};
pub use files::warn_of_few_files;
pub use peer::{Peer, SubjectName};
pub use protocol::{LEAVE_TIME_MAX, Protocol};
pub use tls::{HTTP1, HTTP2, Tls, TlsFile, TlsFiles, TlsSettings};
pub use unread::{OpenStream, Unread};

/// Limits the connections of a listener that no setting limits.
const CONNECTIONS_MAX: usize = 4096;

/// Limits the connections that may wait to be accepted. Linux also has its own limit, `net.core.somaxconn`: 4096 by
/// default.
///
/// Where a connection finds no place, the caller's system tries again after a second. A sale opens in less.
const BACKLOG: u32 = 4096;

/// Listens on an address, with room for more connections at once than the 128 of [`TcpListener::bind`].
///
/// The port of a listener that has just ended can be used. Must be called on a tokio runtime.
///
/// # Errors
/// The address is taken, belongs to another machine, or needs rights that the program lacks.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Is where connections come in, and whether they are encrypted.
#[derive(Debug)]
pub struct Listener {
    /// Where they come in.
    pub tcp: TcpListener,
    /// How they are encrypted. `None`: they are plain text.
    pub tls: Option<Tls>,
}

impl From<TcpListener> for Listener {
    /// Takes connections in plain text.
    fn from(tcp: TcpListener) -> Self {
        Self { tcp, tls: None }
    }
}

/// Says how many connections there may be, how old they may get, and how they are told to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most connections of a listener. One more is closed.
    pub connections_max: usize,
    /// The age at which a connection is told to go. `None`: never. A process makes it up to a tenth shorter or longer.
    pub age_max: Option<Duration>,
    /// How long everything is still served after the signal to stop, before connections are told to go.
    pub drain_delay: Duration,
}

impl Default for Limits {
    /// Returns 4096 connections of any age, which are told to go at once.
    fn default() -> Self {
        Self { connections_max: CONNECTIONS_MAX, age_max: None, drain_delay: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{net::TcpStream, time::timeout};

    use super::*;

    #[tokio::test]
    async fn hundreds_of_callers_connect_before_the_first_is_accepted() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..300 {
            // Without a place the second try succeeds, after a second.
            let connected = timeout(Duration::from_millis(900), TcpStream::connect(address)).await;
            waiting.push(connected.expect("a place in the queue").unwrap());
        }
    }

    #[tokio::test]
    async fn it_listens_on_an_ipv6_socket_and_says_what_is_taken() {
        // This address works without an IPv6 address of the machine.
        let listener = listen("[::ffff:127.0.0.1]:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(TcpStream::connect(address).await.is_ok());
        assert_eq!(listen(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
