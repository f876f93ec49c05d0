//! The bare protocol of [`crate::raw`].

use super::{Adapter, Ear, Incoming, Login, Rooms, Target, To};
use crate::stats::sent_at;
use crate::wire::{Client, Dial, text_frame};
use anyhow::{Result, bail};
use async_trait::async_trait;

/// See the module.
pub struct Plain {
    /// The WebSocket path.
    pub path: String,
}

struct PlainEar;

impl Ear for PlainEar {
    fn hear(&mut self, text: &[u8]) -> Incoming {
        match text.first() {
            Some(b'A') => Incoming::Ack,
            _ => sent_at(text).map_or(Incoming::Other, Incoming::Delivery),
        }
    }
}

#[async_trait(?Send)]
impl Adapter for Plain {
    async fn prepare(&self, _: Target, _: &Rooms) -> Result<()> {
        Ok(())
    }

    async fn login(&self, target: Target, user: usize) -> Result<Login> {
        let path = format!("{}?u={user}", self.path);
        let (addr, recv_buffer) = (target.of(user), target.recv_buffer);
        let dial = Dial { addr, lane: user, path: &path, headers: "", recv_buffer };
        let mut client = Client::upgrade(&dial).await?;
        client.sender.send_text(b"H");
        // The messages of others may come first.
        for _ in 0..10_000 {
            if client.next_text().await? == b"h" {
                return Ok(Login { client, ear: Box::new(PlainEar) });
            }
        }
        bail!("no `h` came")
    }

    fn message(&self, _: usize, to: To, id: u64, body: &str, out: &mut Vec<u8>) {
        match to {
            To::Everyone => text_frame(format!("S{body}").as_bytes(), out),
            To::Peer(peer) => text_frame(format!("D{peer}|{id}|{body}").as_bytes(), out),
        }
    }
}
