//! The client side of a WebSocket, as thin as a load generator needs it: one receive buffer shared by the
//! whole thread, nothing allocated per frame, and a mask of zero, so that masking costs the client nothing
//! (the server still unmasks). It never reassembles fragments: the servers under test send none.

use anyhow::{Context, Result, bail};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as Task, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

const SHARED_BUF: usize = 256 * 1024;
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

thread_local! {
    static BUF: RefCell<Vec<u8>> = RefCell::new(vec![0u8; SHARED_BUF]);
}

/// Appends one masked (zero key) text frame.
pub fn text_frame(payload: &[u8], out: &mut Vec<u8>) {
    frame(TEXT, payload, out);
}

fn frame(op: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(0x80 | op);
    match payload.len() {
        n if n < 126 => out.push(0x80 | n as u8),
        n if n < 65536 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Splits the received byte stream into frames; keeps at most one incomplete one.
#[derive(Default)]
struct Parser {
    rest: Vec<u8>,
}

impl Parser {
    fn feed(&mut self, mut data: &[u8], on: &mut dyn FnMut(u8, &[u8])) {
        if !self.rest.is_empty() {
            loop {
                let missing = missing(&self.rest);
                if missing == 0 {
                    break;
                }
                let (now, later) = data.split_at(missing.min(data.len()));
                self.rest.extend_from_slice(now);
                data = later;
                if now.len() < missing {
                    return;
                }
            }
            consume(&self.rest, on);
            self.rest.clear();
        }
        let used = consume(data, on);
        self.rest.extend_from_slice(&data[used..]);
    }
}

/// Length of head and payload, once the head is there.
fn lengths(b: &[u8]) -> Option<(usize, usize)> {
    match *b.get(1)? & 0x7f {
        126 => Some((4, u16::from_be_bytes(b.get(2..4)?.try_into().ok()?) as usize)),
        127 => Some((10, u64::from_be_bytes(b.get(2..10)?.try_into().ok()?) as usize)),
        n => Some((2, n as usize)),
    }
}

/// How many bytes to ask for before looking at the frame in `b` again; none if it is whole.
fn missing(b: &[u8]) -> usize {
    match (b.get(1), lengths(b)) {
        (None, _) => 2 - b.len(),
        (Some(_), Some((head, len))) => (head + len).saturating_sub(b.len()),
        (Some(second), None) => (if second & 0x7f == 126 { 4 } else { 10 }) - b.len(),
    }
}

fn consume(data: &[u8], on: &mut dyn FnMut(u8, &[u8])) -> usize {
    let mut at = 0;
    while let Some((head, len)) = lengths(&data[at..]) {
        let Some(payload) = data.get(at + head..at + head + len) else {
            break;
        };
        on(data[at] & 0x0f, payload);
        at += head + len;
    }
    at
}

/// The sending half; clones share it, so any task may send at once.
#[derive(Clone)]
pub struct Sender(Rc<SenderInner>);

struct SenderInner {
    half: OwnedWriteHalf,
    pending: RefCell<VecDeque<u8>>,
    flushing: Cell<bool>,
}

impl Sender {
    /// Writes raw, already framed bytes now, or queues what the socket won't take.
    pub fn send_raw(&self, bytes: &[u8]) {
        let inner = &self.0;
        let mut sent = 0;
        if inner.pending.borrow().is_empty() {
            sent = inner.half.try_write(bytes).unwrap_or(0);
        }
        if sent < bytes.len() {
            inner.pending.borrow_mut().extend(&bytes[sent..]);
            if !inner.flushing.replace(true) {
                let me = self.clone();
                tokio::task::spawn_local(async move { me.flush().await });
            }
        }
    }

    /// Frames and sends one text.
    pub fn send_text(&self, payload: &[u8]) {
        let mut out = Vec::with_capacity(payload.len() + 14);
        text_frame(payload, &mut out);
        self.send_raw(&out);
    }

    async fn flush(&self) {
        while !self.0.pending.borrow().is_empty() {
            if self.0.half.writable().await.is_err() {
                break;
            }
            let mut queue = self.0.pending.borrow_mut();
            match self.0.half.try_write(queue.make_contiguous()) {
                Ok(n) => drop(queue.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        self.0.flushing.set(false);
    }
}

/// Where and how to connect.
pub struct Dial<'a> {
    /// The server; must be loopback.
    pub addr: SocketAddr,
    /// Spreads clients over loopback source addresses, so that 10,000 of them and their TIME_WAITs never
    /// run out of ports.
    pub lane: usize,
    /// Path and query.
    pub path: &'a str,
    /// Further header lines, each with its line end.
    pub headers: &'a str,
    /// A receive buffer of this many bytes instead of the system's.
    pub recv_buffer: Option<u32>,
}

impl Dial<'_> {
    /// The TCP connection alone.
    pub async fn connect(&self) -> Result<tokio::net::TcpStream> {
        anyhow::ensure!(self.addr.ip().is_loopback(), "loopback targets only");
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::new(127, 0, 0, 1 + (self.lane % 8) as u8), 0).into())?;
        if let Some(bytes) = self.recv_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(self.addr).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// What [`Client::pump`] tells.
pub trait Listener {
    /// Bytes have come; the texts in them follow. One for many texts: the place to read a clock.
    fn batch(&mut self);
    /// One text.
    fn text(&mut self, text: &[u8]);
}

/// One WebSocket connection.
pub struct Client {
    read: OwnedReadHalf,
    parser: Parser,
    inbox: VecDeque<Vec<u8>>,
    /// The sending half.
    pub sender: Sender,
    /// The code of the server's close frame, if one came.
    pub close_code: Option<u16>,
}

impl Client {
    /// TCP connect and HTTP upgrade.
    pub async fn upgrade(dial: &Dial<'_>) -> Result<Client> {
        let Dial { addr, path, headers, .. } = dial;
        let (mut read, half) = dial.connect().await?.into_split();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        );
        let inner = SenderInner { half, pending: RefCell::default(), flushing: Cell::new(false) };
        let sender = Sender(Rc::new(inner));
        sender.send_raw(request.as_bytes());
        let mut got = Vec::with_capacity(512);
        let end = loop {
            if read.read_buf(&mut got).await? == 0 {
                bail!("closed during upgrade: {}", String::from_utf8_lossy(&got));
            }
            if let Some(i) = memchr::memmem::find(&got, b"\r\n\r\n") {
                break i + 4;
            }
        };
        if !got.starts_with(b"HTTP/1.1 101") {
            bail!("no upgrade: {}", String::from_utf8_lossy(&got[..got.len().min(400)]));
        }
        let early = got.split_off(end);
        let mut client = Client { read, parser: Parser::default(), inbox: VecDeque::new(), sender, close_code: None };
        client.take(&early);
        Ok(client)
    }

    fn take(&mut self, data: &[u8]) {
        let Client { parser, inbox, sender, close_code, .. } = self;
        parser.feed(data, &mut |op, payload| match op {
            TEXT | BINARY | CONTINUATION => inbox.push_back(payload.to_vec()),
            _ => control(op, payload, sender, close_code),
        });
    }

    /// Next text; for handshakes, where speed does not matter.
    pub async fn next_text(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some(text) = self.inbox.pop_front() {
                return Ok(text);
            }
            let mut chunk = [0u8; 8192];
            let n = self.read.read(&mut chunk).await?;
            if n == 0 {
                bail!("closed by the server (code {:?})", self.close_code);
            }
            self.take(&chunk[..n]);
        }
    }

    /// Puts texts back, to be had again in this order before any other.
    pub fn put_back(&mut self, texts: Vec<Vec<u8>>) {
        for text in texts.into_iter().rev() {
            self.inbox.push_front(text);
        }
    }

    /// Hands every text to `on` until the server closes. The hot path; may be dropped and called again.
    pub async fn pump(&mut self, on: &mut dyn Listener) -> Result<()> {
        if !self.inbox.is_empty() {
            on.batch();
            while let Some(text) = self.inbox.pop_front() {
                on.text(&text);
            }
        }
        std::future::poll_fn(|cx| self.poll_pump(cx, on)).await
    }

    fn poll_pump(&mut self, cx: &mut Task<'_>, on: &mut dyn Listener) -> Poll<Result<()>> {
        let Client { read, parser, sender, close_code, .. } = self;
        loop {
            let got = BUF.with_borrow_mut(|buf| {
                let mut buf = ReadBuf::new(buf);
                let poll = Pin::new(&mut *read).poll_read(cx, &mut buf);
                let Poll::Ready(Ok(())) = poll else {
                    return poll.map_ok(|()| 0);
                };
                let data = buf.filled();
                on.batch();
                parser.feed(data, &mut |op, payload| match op {
                    TEXT | BINARY | CONTINUATION => on.text(payload),
                    _ => control(op, payload, sender, close_code),
                });
                Poll::Ready(Ok(data.len()))
            });
            match got {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e.into())),
            }
        }
    }
}

fn control(op: u8, payload: &[u8], sender: &Sender, close_code: &mut Option<u16>) {
    match op {
        PING => {
            let mut out = Vec::new();
            frame(PONG, payload, &mut out);
            sender.send_raw(&out);
        }
        CLOSE => *close_code = payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_stream_is_cut() {
        let texts: Vec<Vec<u8>> = [0usize, 1, 125, 126, 127, 700, 70_000].iter().map(|n| vec![b'x'; *n]).collect();
        let mut stream = vec![];
        for text in &texts {
            crate::raw::text_frame(text, &mut stream);
        }
        for piece in [1, 2, 3, 7, 126, 4096, stream.len()] {
            let (mut parser, mut got) = (Parser::default(), vec![]);
            for data in stream.chunks(piece) {
                parser.feed(data, &mut |op, payload| {
                    assert_eq!(op, TEXT);
                    got.push(payload.to_vec());
                });
            }
            assert_eq!(got, texts, "in pieces of {piece}");
            assert!(parser.rest.is_empty());
        }
    }
}
