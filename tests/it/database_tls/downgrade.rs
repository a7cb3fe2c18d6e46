//! Puts somebody on the way who says that the database has no TLS.

use std::{
    io,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{folder, readiness, start};
use crate::support::{
    authority::{Authority, written},
    mysqld::{Account, url},
};

/// Follows the server's version and 17 further bytes in its greeting: the low capability flags. This is CLIENT_SSL.
const CLIENT_SSL: u16 = 0x0800;
/// Stands between the server's version and its capability flags: thread id, salt and a zero.
const BEFORE_FLAGS: usize = 4 + 8 + 1;

/// Takes CLIENT_SSL out of each greeting, and keeps what clients send before the connection is over.
struct Middleman {
    port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
    listening: JoinHandle<()>,
}

impl Middleman {
    async fn start(database_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, sent) = (listener.local_addr().unwrap().port(), Arc::default());
        let kept = Arc::clone(&sent);
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", database_port)).await.unwrap();
                let _ended = listen_in(client, server, &kept).await;
            }
        });
        Self { port, sent, listening }
    }
}

impl Drop for Middleman {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen_in(mut client: TcpStream, mut server: TcpStream, sent: &Mutex<Vec<u8>>) -> io::Result<()> {
    let mut head = [0; 4];
    server.read_exact(&mut head).await?;
    let mut greeting = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]).try_into().unwrap()];
    server.read_exact(&mut greeting).await?;
    let version_end = greeting.iter().position(|&byte| byte == 0).unwrap();
    let flags = version_end + 1 + BEFORE_FLAGS;
    let without = u16::from_le_bytes([greeting[flags], greeting[flags + 1]]);
    assert_ne!(without & CLIENT_SSL, 0, "the database offers TLS");
    greeting[flags..flags + 2].copy_from_slice(&(without & !CLIENT_SSL).to_le_bytes());
    client.write_all(&[&head[..], &greeting].concat()).await?;

    // The end of a login is of no interest.
    let mut buffer = [0; 4096];
    loop {
        let count = client.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        sent.lock().unwrap().extend(&buffer[..count]);
        server.write_all(&buffer[..count]).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_tls_is_taken_out_of_the_way() {
    let (folder, authority) = (folder(), Authority::new("ours"));
    let (_mysqld, database) = start(folder.path(), &authority).await;
    let middleman = Middleman::start(database.port()).await;
    let url = url(Account::Owner, middleman.port, database.name());
    let ca = format!("--db-ca-file={}", written(folder.path(), "ours.pem", &authority.pem));

    for (url, flags) in [
        (url.clone(), &[ca.clone()][..]),
        (format!("{url}?require_ssl=true"), &[ca]),
        (format!("{url}?require_ssl=true&verify_ca=false"), &[]),
    ] {
        let error = readiness(&url, flags).await.unwrap_err();
        assert!(error.contains("server does not have this capability"), "{error}");
        assert_eq!(middleman.sent.lock().unwrap().len(), 0, "{url}");
    }
    // Without TLS a login is sent, which shows that the middleman would have seen it.
    assert!(readiness(&url, &[]).await.is_err());
    assert_ne!(middleman.sent.lock().unwrap().len(), 0);
    database.assert_conserved().await;
}
