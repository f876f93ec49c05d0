//! Free ports, and whether somebody answers there.
//! Never one that the system gives to outgoing connections: it would be taken while its server is away.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A port of this machine that nobody uses.
pub fn free() -> SocketAddr {
    let ports = std::iter::repeat_with(|| SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..30_000))));
    ports.take(1000).find(|address| TcpListener::bind(address).is_ok()).expect("a free port")
}

/// The status of a plain GET, if there is an answer.
pub async fn status(address: SocketAddr, path: &str) -> Option<u16> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.ok()?;
        std::str::from_utf8(&head[9..]).ok()?.parse().ok()
    };
    tokio::time::timeout(Duration::from_secs(1), exchange).await.ok()?
}
