//! A fan-out at a fixed rate in which one subscriber stops reading: the others' latency with it and
//! without, the server's growth, and what becomes of the laggard.

use super::Run;
use super::fanout::Fan;
use crate::adapters::{Ear, Incoming, Login, Rooms, Target};
use crate::stats::{MARK, Procs};
use crate::wire::{Client, Listener, Sender};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;

/// Small, so that the laggard's queue is the server's and not the kernel's.
const RECV_BUFFER: u32 = 4096;
const SAMPLE: Duration = Duration::from_millis(100);
const CUT_WITHIN: Duration = Duration::from_secs(20);

/// See the module.
#[derive(Args)]
pub struct Slow {
    /// Subscribers of the room, with the one that will stop.
    #[arg(long, default_value_t = 1000)]
    subs: usize,
    /// Messages a second.
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
    /// Bytes of text. What the laggard is owed must pass what kernel (a few MB) and server keep for it.
    #[arg(long, default_value_t = 2000)]
    size: usize,
    /// Seconds without, and again with the laggard.
    #[arg(long, default_value_t = 60.0)]
    secs: f64,
}

impl Slow {
    pub(crate) fn rooms(&self, run: &Run) -> Rooms {
        run.one_room(self.subs)
    }

    pub(crate) async fn run(&self, run: &Run) -> Result<Value> {
        let others = self.subs - 1;
        let mut fan = Fan::new(run, others, 1, self.size).await?;
        let laggard_user = run.plan.first_user + others;
        let target = Target { recv_buffer: Some(RECV_BUFFER), ..run.plan.target };
        let laggard = Laggard::reading(run.adapter.login(target, laggard_user).await?);
        // So that what fills up once (caches, the allocator) has done so.
        fan.open_loop(self.rate, (self.secs / 4.0).min(5.0)).await;

        let memory = Peak::watch(&run.procs);
        let (_, without) = fan.open_loop(self.rate, self.secs).await;
        let grown_without = memory.end();
        eprintln!("  without {without}");

        let laggard = laggard.stop().await;
        let memory = Peak::watch(&run.procs);
        let (_, with) = fan.open_loop(self.rate, self.secs).await;
        let grown_with = memory.end();
        eprintln!("  with {with}");

        let fate = match laggard {
            Some(laggard) => laggard.read_on().await,
            None => json!({"closed": "before it stopped"}),
        };
        let trouble = fan.crowd.heard.trouble();
        fan.crowd.scatter().await;
        Ok(json!({"scenario": "slow", "subscribers": self.subs, "rate": self.rate, "size": self.size,
            "without": without, "with": with, "grown_without_bytes": grown_without,
            "grown_with_bytes": grown_with, "queue_bytes": run.adapter.queue_bytes(),
            "laggard": fate, "trouble": trouble}))
    }
}

/// The one that reads, then does not, then reads on to learn its fate.
struct Laggard {
    client: Client,
    ears: LaggardEars,
}

struct LaggardEars {
    ear: Box<dyn Ear>,
    sender: Sender,
    messages: u64,
}

impl Listener for LaggardEars {
    fn batch(&mut self) {}

    fn text(&mut self, text: &[u8]) {
        self.messages += u64::from(memchr::memmem::find(text, MARK).is_some());
        if let Incoming::Reply { text, .. } = self.ear.hear(text) {
            self.sender.send_text(&text);
        }
    }
}

/// A laggard that still reads.
struct Reading {
    stop: Rc<Notify>,
    task: tokio::task::JoinHandle<Option<Laggard>>,
}

impl Laggard {
    fn reading(Login { client, ear }: Login) -> Reading {
        let sender = client.sender.clone();
        let mut me = Laggard { client, ears: LaggardEars { ear, sender, messages: 0 } };
        let stop = Rc::new(Notify::new());
        let stopped = stop.clone();
        let task = tokio::task::spawn_local(async move {
            tokio::select! {
                _ = me.client.pump(&mut me.ears) => None,
                () = stopped.notified() => Some(me),
            }
        });
        Reading { stop, task }
    }

    /// Reads what is left, until the server's close or the end of patience.
    async fn read_on(mut self) -> Value {
        let before = self.ears.messages;
        let pump = self.client.pump(&mut self.ears);
        let closed = tokio::time::timeout(CUT_WITHIN, pump).await.is_ok();
        json!({"closed": closed, "code": self.client.close_code,
            "messages_after": self.ears.messages - before})
    }
}

impl Reading {
    /// Stops reading; none if the server had closed already.
    async fn stop(self) -> Option<Laggard> {
        self.stop.notify_one();
        self.task.await.ok().flatten()
    }
}

/// The greatest growth of the servers' memory over a span.
struct Peak {
    before: u64,
    most: Rc<Cell<u64>>,
    task: tokio::task::JoinHandle<()>,
}

impl Peak {
    fn watch(procs: &Procs) -> Peak {
        let (procs, before) = (procs.clone(), procs.rss());
        let most = Rc::new(Cell::new(before));
        let seen = most.clone();
        let task = tokio::task::spawn_local(async move {
            loop {
                seen.set(seen.get().max(procs.rss()));
                tokio::time::sleep(SAMPLE).await;
            }
        });
        Peak { before, most, task }
    }

    fn end(self) -> u64 {
        self.task.abort();
        self.most.get() - self.before
    }
}
