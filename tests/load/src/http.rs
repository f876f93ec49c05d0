//! One REST call at a time, for setting up; never used while something is measured.

use crate::wire::Dial;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MOST: u64 = 8 << 20;

/// Posts `body` as JSON with a bearer token; the status and the answer's JSON (null if there is none).
pub async fn post(dial: &Dial<'_>, token: &str, body: &Value) -> Result<(u16, Value)> {
    let (addr, path, body) = (dial.addr, dial.path, body.to_string());
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(dial, request.as_bytes()).await
}

/// Gets a path; the status and the answer's JSON (null if there is none).
pub async fn get(dial: &Dial<'_>) -> Result<(u16, Value)> {
    let (addr, path) = (dial.addr, dial.path);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    exchange(dial, request.as_bytes()).await
}

async fn exchange(dial: &Dial<'_>, request: &[u8]) -> Result<(u16, Value)> {
    let mut answer = vec![];
    let whole = async {
        let mut stream = dial.connect().await?;
        stream.write_all(request).await?;
        stream.take(MOST).read_to_end(&mut answer).await?;
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), whole).await.context("no answer in 60 s")??;
    let (status, body) = parse(&answer)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

fn parse(answer: &[u8]) -> Result<(u16, Vec<u8>)> {
    let Some(end) = memchr::memmem::find(answer, b"\r\n\r\n") else {
        bail!("no HTTP answer: {}", String::from_utf8_lossy(answer));
    };
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
    let body = &answer[end + 4..];
    let chunked = head.lines().any(|l| l.starts_with("transfer-encoding:") && l.contains("chunked"));
    Ok((status, if chunked { unchunked(body) } else { body.to_vec() }))
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    while let Some(end) = memchr::memmem::find(body, b"\r\n") {
        let size = String::from_utf8_lossy(&body[..end]);
        let size = usize::from_str_radix(size.split(';').next().unwrap_or("").trim(), 16).unwrap_or(0);
        let Some(chunk) = body.get(end + 2..end + 2 + size) else {
            break;
        };
        if size == 0 {
            break;
        }
        out.extend_from_slice(chunk);
        body = body.get(end + 4 + size..).unwrap_or(&[]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_in_chunks() {
        let plain = parse(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        assert_eq!(plain, (201, b"{}".to_vec()));
        let chunked =
            parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\n\r\n");
        assert_eq!(chunked.unwrap(), (200, b"{\"a\":1}".to_vec()));
        assert!(parse(b"nonsense").is_err());
    }
}
