//! Chats of two that ping-pong: whoever receives a message sends one.

use super::Run;
use crate::adapters::{Rooms, To};
use crate::stats::{Meter, body};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Args)]
pub struct Pairs {
    /// How many pairs.
    #[arg(long, default_value_t = 500)]
    pairs: usize,
    /// Bytes of text.
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Seconds measured, after one to warm up.
    #[arg(long, default_value_t = 5.0)]
    secs: f64,
    /// Messages going to and fro in each pair.
    #[arg(long, default_value_t = 1)]
    inflight: usize,
}

impl Pairs {
    pub(crate) fn rooms(&self, run: &Run) -> Rooms {
        run.in_pairs(self.pairs * 2)
    }

    pub(crate) async fn run(&self, run: &Run) -> Result<Value> {
        let crowd = Rc::new(run.gather(self.pairs * 2).await?);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let running = Rc::new(Cell::new(true));
        let say = {
            let (crowd, first, size) = (Rc::downgrade(&crowd), run.plan.first_user, self.size);
            let (sent, scratch) = (Cell::new(0u64), RefCell::new((String::new(), vec![])));
            Rc::new(move |user: usize| {
                let Some(crowd) = crowd.upgrade() else { return };
                let me = &crowd.members[user - first];
                let peer = first + ((user - first) ^ 1);
                let now = crowd.heard.clock.nanos();
                sent.set(sent.get() + 1);
                let (text, frame) = &mut *scratch.borrow_mut();
                body(now, size, text);
                frame.clear();
                crowd.adapter.message(user, To::Peer(peer), sent.get(), text, frame);
                me.unacked.borrow_mut().push_back(now);
                me.sender.send_raw(frame);
            })
        };
        let (answer, on) = (say.clone(), running.clone());
        *crowd.heard.on_delivery.borrow_mut() = Some(Box::new(move |user| {
            if on.get() {
                answer(user);
            }
        }));
        for pair in 0..self.pairs {
            (0..self.inflight).for_each(|_| say(run.plan.first_user + pair * 2));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        crowd.reset();
        let meter = Meter::start(&run.procs);
        let begin = Instant::now();
        tokio::time::sleep(Duration::from_secs_f64(self.secs)).await;
        let wall = begin.elapsed().as_secs_f64();
        let cpu = meter.read();
        let heard = &crowd.heard;
        let result = json!({"scenario": "pairs", "pairs": self.pairs, "inflight": self.inflight,
            "size": self.size, "messages_s": heard.deliveries.get() as f64 / wall,
            "acks_s": heard.acks.get() as f64 / wall, "delivery": heard.delivery.borrow().json(),
            "ack": heard.ack.borrow().json(), "cpu": cpu,
            "rss_mb": run.procs.rss() >> 20, "trouble": heard.trouble()});
        running.set(false);
        tokio::time::sleep(Duration::from_millis(300)).await;
        heard.on_delivery.borrow_mut().take();
        if let Ok(mut crowd) = Rc::try_unwrap(crowd) {
            crowd.scatter().await;
        }
        Ok(result)
    }
}
