//! One socket's connection: its queue into the stream, and the stream into whole messages.
//! Never a frame of its own making but the pong, and never what a message means.

use super::transport::Duplex;
use actix_http::ws::{Codec, Frame, Item, ProtocolError};
use actix_web::web::{Bytes, BytesMut};
use actors::hub::Socket;
use actors::outbox::CloseCode;
use actors::session::Incoming;
use futures_util::Stream;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::coop;
use tokio_util::codec::Decoder;

/// Frames given to the system in one call; it takes up to 1024 (`IOV_MAX`).
const SLICES: usize = 64;
/// Bytes gathered for one call.
const GATHERED: usize = 64 * 1024;
/// Bytes asked of the system at once.
const READ: usize = 8 * 1024;
/// The longest header of a frame (RFC 6455, section 5.2).
const HEADER: usize = 14;
/// Messages that a session takes in one turn.
const TURN: usize = 64;
/// How long a closed connection waits for the client to close it, too.
const LINGER: Duration = Duration::from_secs(2);

/// The outgoing half. What has gathered in the queue goes out in one call, from the shared frames themselves.
pub struct Connection<S> {
    io: Rc<S>,
    socket: Rc<Socket>,
    /// On its way into the stream.
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
    /// The queue has ended; what is pending is the last.
    last: bool,
}

impl<S: Duplex> Connection<S> {
    /// Writes `head`, then what comes from the socket's queue.
    pub fn new(io: Rc<S>, socket: Rc<Socket>, head: Bytes) -> Connection<S> {
        let pending_bytes = head.len();
        Connection { io, socket, pending: VecDeque::from([head]), pending_bytes, last: false }
    }

    /// Runs until the connection has ended.
    pub async fn run(mut self) {
        if poll_fn(|cx| self.poll_queue(cx)).await.is_ok() {
            // The reader gives way; what still comes is not looked at.
            self.socket.outbox.end();
            let _ = tokio::time::timeout(LINGER, self.part()).await;
        }
        self.socket.outbox.end();
    }

    fn poll_queue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.last && self.pending.len() < SLICES && self.pending_bytes < GATHERED {
                match self.socket.poll_frames(cx) {
                    Poll::Ready(Some(frames)) => {
                        self.pending_bytes += frames.len();
                        self.pending.push_back(frames);
                    }
                    Poll::Ready(None) => self.last = true,
                    Poll::Pending => break,
                }
            }
            if self.pending.is_empty() {
                if self.pending.capacity() > 8 {
                    self.pending = VecDeque::new();
                }
                ready!(self.io.poll_flush(cx))?;
                return if self.last { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            let written = ready!(self.poll_write(cx))?;
            self.advance(written);
        }
    }

    fn poll_write(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let (Some(only), 1) = (self.pending.front(), self.pending.len()) {
            return self.io.poll_write(cx, &[IoSlice::new(only)]);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = self.pending.len().min(SLICES);
        for (slice, frames) in slices.iter_mut().zip(&self.pending) {
            *slice = IoSlice::new(frames);
        }
        self.io.poll_write(cx, &slices[..count])
    }

    fn advance(&mut self, mut written: usize) {
        self.pending_bytes -= written;
        while let Some(first) = self.pending.front_mut() {
            if first.len() > written {
                let _ = first.split_to(written);
                return;
            }
            written -= first.len();
            self.pending.pop_front();
        }
    }

    /// Ends our side, and reads to the client's end, so that it is not told of a reset before it has read our close.
    async fn part(&self) {
        if poll_fn(|cx| self.io.poll_finish(cx)).await.is_err() {
            return;
        }
        // The buffer is not part of this future, which every idle connection holds.
        while let Ok(1..) = poll_fn(|cx| self.io.poll_read(cx, &mut [0; 1024])).await {
            coop::consume_budget().await;
        }
    }
}

/// The incoming half, as whole messages.
pub struct Inbound<S> {
    io: Rc<S>,
    codec: Codec,
    bytes: BytesMut,
    /// The parts of a message that came in several frames; `None` between messages.
    parts: Option<Vec<u8>>,
    most: usize,
    socket: Rc<Socket>,
    ended: bool,
}

impl<S: Duplex> Inbound<S> {
    /// Reads messages of up to `most` bytes; `read` has come already.
    pub fn new(io: Rc<S>, read: &[u8], socket: Rc<Socket>, most: usize) -> Inbound<S> {
        let codec = Codec::new().max_size(most);
        Inbound { io, codec, bytes: BytesMut::from(read), parts: None, most, socket, ended: false }
    }

    /// The next whole message among the bytes that are here.
    fn decode(&mut self) -> Option<Incoming> {
        loop {
            let frame = match self.codec.decode(&mut self.bytes) {
                Ok(Some(frame)) => frame,
                // The codec refuses a frame for its length only when all of it is here: so long is not waited for.
                Ok(None) if self.bytes.len() > self.most + HEADER => {
                    return Some(Incoming::End(CloseCode::FrameTooLarge));
                }
                Ok(None) => return None,
                Err(ProtocolError::Overflow) => return Some(Incoming::End(CloseCode::FrameTooLarge)),
                Err(_) => return Some(Incoming::End(CloseCode::ProtocolError)),
            };
            match frame {
                // A message in parts is not interrupted by another one (RFC 6455, section 5.4).
                Frame::Text(_) if self.parts.is_some() => return Some(Incoming::End(CloseCode::ProtocolError)),
                Frame::Text(text) => return Some(Incoming::Text(text)),
                Frame::Continuation(item) => match self.assemble(item) {
                    Some(incoming) => return Some(incoming),
                    None => continue,
                },
                Frame::Ping(payload) => {
                    self.socket.outbox.push(pong(&payload), 0);
                    return Some(Incoming::Alive);
                }
                Frame::Pong(_) => return Some(Incoming::Alive),
                Frame::Close(_) => return Some(Incoming::End(CloseCode::Normal)),
                Frame::Binary(_) => return Some(Incoming::End(CloseCode::ProtocolError)),
            }
        }
    }

    fn assemble(&mut self, item: Item) -> Option<Incoming> {
        let (part, last) = match item {
            Item::FirstText(part) => {
                self.parts = Some(Vec::new());
                (part, false)
            }
            Item::FirstBinary(_) => return Some(Incoming::End(CloseCode::ProtocolError)),
            Item::Continue(part) => (part, false),
            Item::Last(part) => (part, true),
        };
        let Some(parts) = &mut self.parts else { return Some(Incoming::End(CloseCode::ProtocolError)) };
        if parts.len() + part.len() > self.most {
            return Some(Incoming::End(CloseCode::FrameTooLarge));
        }
        parts.extend_from_slice(&part);
        if last { self.parts.take().map(|whole| Incoming::Text(Bytes::from(whole))) } else { None }
    }

    /// Reads what has come; `false` at the end of the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut read = [0; READ];
        let count = ready!(self.io.poll_read(cx, &mut read)).unwrap_or(0);
        self.bytes.extend_from_slice(&read[..count]);
        Poll::Ready(count > 0)
    }
}

fn pong(payload: &[u8]) -> Bytes {
    // A ping's payload is at most 125 bytes (RFC 6455, section 5.5), which the codec holds it to.
    let payload = &payload[..payload.len().min(125)];
    let mut frame = vec![0x8A, payload.len() as u8];
    frame.extend_from_slice(payload);
    frame.into()
}

impl<S: Duplex> Stream for Inbound<S> {
    type Item = Vec<Incoming>;

    /// All whole messages that are here: the session takes them in one turn.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<Incoming>>> {
        loop {
            // While much waits for this client, its commands wait too.
            let readable = self.socket.outbox.poll_readable(cx);
            if self.ended || self.socket.outbox.has_ended() {
                return Poll::Ready(None);
            }
            ready!(readable);
            let mut messages = Vec::new();
            while let Some(incoming) = self.decode() {
                self.ended = matches!(incoming, Incoming::End(_));
                messages.push(incoming);
                if self.ended || messages.len() == TURN {
                    break;
                }
            }
            if self.bytes.is_empty() {
                // An idle socket keeps no buffer.
                self.bytes = BytesMut::new();
            }
            if !messages.is_empty() {
                return Poll::Ready(Some(messages));
            }
            if !ready!(self.poll_read(cx)) {
                return Poll::Ready(None);
            }
        }
    }
}
