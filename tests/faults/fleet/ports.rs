//! Free ports, and whether somebody answers there.
//! Never one that the system gives to outgoing connections: it would be taken while its server is away.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A port of this machine that nobody uses, and that was not given before: its server may not have come yet.
pub fn free() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let ports = std::iter::repeat_with(|| fastrand::u16(20_000..30_000)).take(1000);
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port));
    SocketAddr::from(([127, 0, 0, 1], free.next().expect("a free port")))
}

/// The answer to a plain GET, head and body, if there is one.
pub async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    };
    tokio::time::timeout(Duration::from_secs(1), exchange).await.ok()?
}

/// Whether a plain GET is answered with 200.
pub async fn is_well(address: SocketAddr, path: &str) -> Option<()> {
    get(address, path).await?.starts_with("HTTP/1.1 200 ").then_some(())
}
