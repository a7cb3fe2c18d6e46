//! Listening for connections that come all at once.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait until they are accepted; the system has a bound of its own, on Linux
/// `net.core.somaxconn`, 4096 by default since 5.4. One that finds no place is tried again by the caller's system after
/// a second, and a sale opens in less.
const BACKLOG: u32 = 4096;

/// Listens on an address: for more callers at once than [`TcpListener::bind`], which has room for 128, and as that, on a
/// port whose last listener ended just now. Must be called on a tokio runtime.
///
/// # Errors
/// The address is taken, isn't this machine's, or may not be listened on.
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
            // Without a place it would be the second try that succeeds, after a second.
            let connected = timeout(Duration::from_millis(900), TcpStream::connect(address)).await;
            waiting.push(connected.expect("a place in the queue").unwrap());
        }
    }

    #[tokio::test]
    async fn it_listens_on_an_ipv6_socket_and_says_what_is_taken() {
        // Also where the machine has no IPv6 address.
        let listener = listen("[::ffff:127.0.0.1]:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        assert!(TcpStream::connect(address).await.is_ok());
        assert_eq!(listen(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
