//! Many signed-in clients and what they hear.

use crate::adapters::{Adapter, Ear, Incoming, Login, Target};
use crate::stats::{Clock, Latency};
use crate::wire::{Listener, Sender};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

const ATTEMPT: Duration = Duration::from_secs(20);
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Called with the user who received a message.
pub type OnDelivery = Box<dyn Fn(usize)>;
/// Send times of messages not yet acknowledged, oldest first.
pub type Unacked = Rc<RefCell<VecDeque<u64>>>;

/// What the whole crowd has heard.
pub struct Heard {
    /// The time that bodies carry.
    pub clock: Clock,
    /// Read once a batch of frames.
    now: Cell<u64>,
    /// Messages delivered, to anybody.
    pub deliveries: Cell<u64>,
    /// Messages acknowledged.
    pub acks: Cell<u64>,
    /// Commands refused; the first refusal's text.
    pub refused: Cell<u64>,
    refusal: RefCell<Option<String>>,
    /// Heartbeats that said other counts than ours.
    pub out_of_step: Cell<u64>,
    /// Heartbeats answered.
    pub heartbeats: Cell<u64>,
    /// Connections that the server closed, by close code (0: none came).
    pub closed: RefCell<BTreeMap<u16, u64>>,
    /// From send to delivery.
    pub delivery: RefCell<Latency>,
    /// The same to users of even and of odd numbers, who may be at two servers.
    pub by_server: RefCell<[Latency; 2]>,
    /// From send to acknowledgement.
    pub ack: RefCell<Latency>,
    /// Signalled when `deliveries` reaches `wake_at`.
    pub progress: Notify,
    /// See `progress`.
    pub wake_at: Cell<u64>,
    /// Told of every delivery, if set.
    pub on_delivery: RefCell<Option<OnDelivery>>,
}

/// One signed-in client.
pub struct Member {
    /// Sends for it.
    pub sender: Sender,
    /// What it has sent and not seen acknowledged.
    pub unacked: Unacked,
    task: JoinHandle<()>,
}

/// Everybody.
pub struct Crowd {
    /// What they speak.
    pub adapter: Rc<dyn Adapter>,
    /// What they hear.
    pub heard: Rc<Heard>,
    /// Each of them, by number from the first user.
    pub members: Vec<Member>,
    /// How long it took until all were online.
    pub took: Duration,
    /// Attempts that failed on the way.
    pub retries: u64,
}

/// How a crowd comes together.
#[derive(Clone, Copy)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// How many.
    pub count: usize,
    /// The number of the first.
    pub first_user: usize,
    /// Logins under way at once.
    pub parallel: usize,
    /// All must be online by then.
    pub deadline: Duration,
}

type Arrival = (usize, Sender, Unacked);

impl Crowd {
    /// Signs everybody in; fails when not all are online at the deadline.
    pub async fn gather(adapter: Rc<dyn Adapter>, plan: Plan) -> Result<Crowd> {
        let heard = Rc::new(Heard::new()?);
        let gate = Rc::new(Semaphore::new(plan.parallel));
        let (tx, mut rx) = mpsc::unbounded_channel();
        let start = Instant::now();
        let retries = Rc::new(Cell::new(0u64));
        let spawn = |i| {
            let arrive = Arrive {
                plan,
                user: plan.first_user + i,
                deadline: start + plan.deadline,
                adapter: adapter.clone(),
                gate: gate.clone(),
                retries: retries.clone(),
            };
            let (tx, heard) = (tx.clone(), heard.clone());
            tokio::task::spawn_local(arrive.then_listen(i, tx, heard))
        };
        let tasks: Vec<JoinHandle<()>> = (0..plan.count).map(spawn).collect();
        drop(tx);
        let mut arrived: Vec<Option<Arrival>> = (0..plan.count).map(|_| None).collect();
        for up in 0..plan.count {
            let next = tokio::time::timeout_at((start + plan.deadline).into(), rx.recv()).await;
            let Ok(Some(arrival)) = next else {
                tasks.iter().for_each(JoinHandle::abort);
                let (all, took) = (plan.count, start.elapsed());
                bail!("only {up} of {all} came up in {took:?} ({} retries)", retries.get());
            };
            let i = arrival.0;
            arrived[i] = Some(arrival);
        }
        let took = start.elapsed();
        let member = |(arrival, task): (Option<Arrival>, _)| {
            let (_, sender, unacked) = arrival.context("somebody arrived twice")?;
            Ok(Member { sender, unacked, task })
        };
        let members = arrived.into_iter().zip(tasks).map(member).collect::<Result<_>>()?;
        Ok(Crowd { adapter, heard, members, took, retries: retries.get() })
    }

    /// Every connection is dropped at once, as when the network goes away.
    pub async fn scatter(&mut self) {
        let tasks: Vec<_> = self.members.drain(..).map(|m| m.task).collect();
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            let _ = task.await;
        }
    }

    /// Starts counting afresh; what went wrong stays.
    pub fn reset(&self) {
        self.heard.deliveries.set(0);
        self.heard.acks.set(0);
        self.heard.delivery.borrow_mut().reset();
        self.heard.by_server.borrow_mut().iter_mut().for_each(Latency::reset);
        self.heard.ack.borrow_mut().reset();
    }
}

/// One user's way online.
struct Arrive {
    plan: Plan,
    user: usize,
    deadline: Instant,
    adapter: Rc<dyn Adapter>,
    gate: Rc<Semaphore>,
    retries: Rc<Cell<u64>>,
}

impl Arrive {
    async fn then_listen(self, i: usize, tx: mpsc::UnboundedSender<Arrival>, heard: Rc<Heard>) {
        let Some(Login { mut client, ear }) = self.online().await else {
            return;
        };
        let unacked = Unacked::default();
        let sender = client.sender.clone();
        if tx.send((i, sender.clone(), unacked.clone())).is_err() {
            return;
        }
        drop(tx);
        let user = self.user;
        drop(self);
        let mut ears = Ears { heard: &heard, ear, user, sender, unacked };
        let _ = client.pump(&mut ears).await;
        *heard.closed.borrow_mut().entry(client.close_code.unwrap_or(0)).or_default() += 1;
    }

    async fn online(&self) -> Option<Login> {
        let _permit = self.gate.acquire().await.ok()?;
        loop {
            let attempt = self.adapter.login(self.plan.target, self.user);
            let error = match tokio::time::timeout(ATTEMPT, attempt).await {
                Ok(Ok(login)) => return Some(login),
                Ok(Err(e)) => format!("{e:#}"),
                Err(_) => "timed out".to_owned(),
            };
            if self.retries.replace(self.retries.get() + 1) < 3 {
                eprintln!("  user {}: {error}; trying again", self.user);
            }
            if Instant::now() > self.deadline {
                return None;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

struct Ears<'a> {
    heard: &'a Heard,
    ear: Box<dyn Ear>,
    user: usize,
    sender: Sender,
    unacked: Unacked,
}

impl Listener for Ears<'_> {
    fn batch(&mut self) {
        self.heard.now.set(self.heard.clock.nanos());
    }

    fn text(&mut self, text: &[u8]) {
        let heard = self.heard;
        match self.ear.hear(text) {
            Incoming::Delivery(sent) => heard.delivered(self.user, sent),
            Incoming::Deliveries(all) => all.iter().for_each(|sent| heard.delivered(self.user, *sent)),
            Incoming::Ack => {
                heard.acks.set(heard.acks.get() + 1);
                if let Some(sent) = self.unacked.borrow_mut().pop_front() {
                    heard.ack.borrow_mut().record_ns(heard.now.get().saturating_sub(sent));
                }
            }
            Incoming::Refused => {
                self.unacked.borrow_mut().pop_front();
                heard.refused.set(heard.refused.get() + 1);
                let mut first = heard.refusal.borrow_mut();
                first.get_or_insert_with(|| String::from_utf8_lossy(text).into_owned());
            }
            Incoming::Reply { text, in_step } => {
                heard.heartbeats.set(heard.heartbeats.get() + 1);
                heard.out_of_step.set(heard.out_of_step.get() + u64::from(!in_step));
                self.sender.send_text(&text);
            }
            Incoming::Other => {}
        }
    }
}

impl Heard {
    fn new() -> Result<Heard> {
        Ok(Heard {
            clock: Clock::start(),
            now: Cell::new(0),
            deliveries: Cell::new(0),
            acks: Cell::new(0),
            refused: Cell::new(0),
            refusal: RefCell::new(None),
            out_of_step: Cell::new(0),
            heartbeats: Cell::new(0),
            closed: RefCell::default(),
            delivery: RefCell::new(Latency::new()?),
            by_server: RefCell::new([Latency::new()?, Latency::new()?]),
            ack: RefCell::new(Latency::new()?),
            progress: Notify::new(),
            wake_at: Cell::new(u64::MAX),
            on_delivery: RefCell::new(None),
        })
    }

    fn delivered(&self, user: usize, sent: u64) {
        let took = self.now.get().saturating_sub(sent);
        self.delivery.borrow_mut().record_ns(took);
        self.by_server.borrow_mut()[user % 2].record_ns(took);
        let n = self.deliveries.get() + 1;
        self.deliveries.set(n);
        if n >= self.wake_at.get() {
            self.wake_at.set(u64::MAX);
            self.progress.notify_one();
        }
        if let Some(tell) = &*self.on_delivery.borrow() {
            tell(user);
        }
    }

    /// What went wrong since the crowd gathered: all zero in a good run.
    pub fn trouble(&self) -> Value {
        let codes = self.closed.borrow();
        let codes: BTreeMap<String, u64> = codes.iter().map(|(c, n)| (c.to_string(), *n)).collect();
        json!({"refused": self.refused.get(), "refusal": *self.refusal.borrow(), "closed": codes,
            "out_of_step": self.out_of_step.get(), "heartbeats": self.heartbeats.get()})
    }
}
