//! One connection that stays open: requests one after the other, each from whatever address a trusted proxy names.
//! Never more than a benchmark of REST needs: JSON bodies with their length.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const MOST: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// A client of the node.
pub struct Client(BufReader<TcpStream>);

/// What the node answered.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl Answer {
    /// The code of a refusal; empty for anything else.
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    /// The body, of a request that must be served.
    pub fn ok(self) -> Result<Value> {
        ensure!((200..300).contains(&self.status), "refused: {} {}", self.status, self.body);
        Ok(self.body)
    }
}

impl Client {
    /// Connects.
    pub async fn open(addr: SocketAddr) -> Result<Client> {
        ensure!(addr.ip().is_loopback(), "loopback targets only");
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Client(BufReader::new(stream)))
    }

    /// Posts `body` to a path of the API as somebody at `from`.
    pub async fn post(&mut self, path: &str, from: Ipv4Addr, body: &Value) -> Result<Answer> {
        let body = body.to_string();
        let request = format!(
            "POST /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {from}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        tokio::time::timeout(PATIENCE, self.exchange(request.as_bytes())).await.context("no answer in 60 s")?
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Answer> {
        self.0.get_mut().write_all(request).await?;
        let (mut line, mut status, mut length) = (String::new(), None, 0_usize);
        loop {
            line.clear();
            ensure!(self.0.read_line(&mut line).await? > 0, "the node closed the connection");
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            match text.split_once(':') {
                _ if status.is_none() => status = text.split(' ').nth(1).and_then(|status| status.parse().ok()),
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse()?,
                _ => {}
            }
        }
        ensure!(length <= MOST, "an answer of {length} bytes");
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        Ok(Answer { status: status.context("no status")?, body })
    }
}
