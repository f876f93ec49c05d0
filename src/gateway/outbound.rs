//! The response body that drains a socket's queue into its connection.
//! Never a frame of its own making.

use actix_web::web::Bytes;
use actors::hub::{Hub, Socket};
use actors::outbox::CloseCode;
use futures_util::Stream;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// The outgoing half of one connection. What has gathered goes out in one write: the dispatcher asks
/// for frames until its buffer is full, and hands each over without a copy of ours.
pub struct Outbound(Rc<Socket>);

impl Outbound {
    /// The outgoing half of a socket.
    pub fn new(socket: Rc<Socket>) -> Outbound {
        Outbound(socket)
    }

    /// A connection that is closed as soon as it is open.
    pub fn closing(hub: &Rc<Hub>, code: CloseCode) -> Outbound {
        let (notices, _) = mpsc::unbounded_channel();
        let socket = hub.socket(1024, notices);
        socket.outbox.close(code);
        Outbound(socket)
    }
}

impl Stream for Outbound {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_frames(cx).map(|frames| frames.map(Ok))
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.0.outbox.end();
    }
}
