//! Listens for connections that arrive all at once.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

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
