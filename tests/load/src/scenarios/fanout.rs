//! One room, many subscribers.

use super::Run;
use crate::adapters::{Rooms, To};
use crate::crowd::Crowd;
use crate::stats::{Latency, Meter, body};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const P99_LIMIT_MS: f64 = 250.0;
const SETTLE: Duration = Duration::from_secs(10);
/// This far behind the schedule a step is given up.
const FAR_BEHIND_SECS: f64 = 0.5;
/// The search stops when the highest good and the lowest bad rate are this close.
const CLOSE_ENOUGH: f64 = 0.12;

/// See the module.
#[derive(Args)]
pub struct Fanout {
    /// Subscribers of the room.
    #[arg(long, default_value_t = 1000)]
    subs: usize,
    /// How many of them send.
    #[arg(long, default_value_t = 1)]
    senders: usize,
    /// Bytes of text.
    #[arg(long, default_value_t = 200)]
    size: usize,
    /// Seconds a step.
    #[arg(long, default_value_t = 3.0)]
    secs: f64,
    /// Messages under way at once in the flat-out steps.
    #[arg(long, value_delimiter = ',', default_value = "1,32,256")]
    windows: Vec<u64>,
    /// Steps in the search for the highest rate with p99 under 250 ms; 0 to skip it.
    #[arg(long, default_value_t = 8)]
    ramp: usize,
}

impl Fanout {
    pub(crate) fn rooms(&self, run: &Run) -> Rooms {
        run.one_room(self.subs)
    }

    pub(crate) async fn run(&self, run: &Run) -> Result<Value> {
        let mut fan = Fan::new(run, self.subs, self.senders, self.size).await?;
        fan.open_loop(10.0, 0.5).await;
        let mut flat = vec![];
        for window in &self.windows {
            let step = fan.flat_out(*window, self.secs).await;
            eprintln!("  flat {step}");
            flat.push(step);
        }
        let trouble = fan.crowd.heard.trouble();
        // The search starts below the best flat-out rate.
        let most = flat.iter().filter_map(|f| f["messages_s"].as_f64()).fold(2.0, f64::max);
        let (best, search) = self.highest(&mut fan, most * 0.6).await?;
        let rss = run.procs.rss();
        fan.crowd.scatter().await;
        Ok(json!({"scenario": "fanout", "subscribers": self.subs, "senders": self.senders,
            "size": self.size, "flat": flat, "sustained": best, "search": search,
            "rss_mb": rss >> 20, "trouble": trouble}))
    }

    /// The step with the highest rate that still had p99 under the limit (null if none had), and all steps.
    /// A server may well refuse or cut off clients at a rate that is too high: then it starts the next step
    /// with a new crowd.
    async fn highest(&self, fan: &mut Fan<'_>, first: f64) -> Result<(Value, Vec<Value>)> {
        let (mut good, mut bad, mut rate) = (0.0, f64::INFINITY, first);
        let (mut best, mut all) = (Value::Null, vec![]);
        for _ in 0..self.ramp {
            let (ok, step) = fan.open_loop(rate, self.secs).await;
            eprintln!("  ramp {step}");
            all.push(step.clone());
            if ok {
                good = rate;
                best = step;
            } else {
                bad = rate;
                fan.gather_again().await?;
            }
            if bad.is_finite() && (bad - good) / bad < CLOSE_ENOUGH {
                break;
            }
            rate = if bad.is_infinite() { rate * 1.35 } else { (good + bad) / 2.0 };
        }
        Ok((best, all))
    }
}

/// Sends into the room, and waits for what comes of it.
pub(super) struct Fan<'a> {
    run: &'a Run,
    pub(super) crowd: Crowd,
    senders: usize,
    size: usize,
    sent: u64,
    text: String,
    frame: Vec<u8>,
}

impl<'a> Fan<'a> {
    pub(super) async fn new(run: &'a Run, subs: usize, senders: usize, size: usize) -> Result<Fan<'a>> {
        let crowd = run.gather(subs).await?;
        let senders = senders.clamp(1, subs);
        Ok(Fan { run, crowd, senders, size, sent: 0, text: String::new(), frame: vec![] })
    }

    async fn gather_again(&mut self) -> Result<()> {
        let count = self.crowd.members.len();
        self.crowd.scatter().await;
        self.crowd = self.run.gather(count).await?;
        Ok(())
    }

    fn send(&mut self, sent_ns: u64) {
        self.sent += 1;
        let i = self.sent as usize % self.senders;
        body(sent_ns, self.size, &mut self.text);
        self.frame.clear();
        let (user, adapter) = (self.run.plan.first_user + i, &self.crowd.adapter);
        adapter.message(user, To::Everyone, self.sent, &self.text, &mut self.frame);
        self.crowd.members[i].sender.send_raw(&self.frame);
    }

    /// Waits until `want` deliveries have been heard, or too long.
    async fn settle(&self, want: u64) -> bool {
        let (end, heard) = (Instant::now() + SETTLE, &self.crowd.heard);
        while heard.deliveries.get() < want && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        heard.deliveries.get() >= want
    }

    /// `rate` messages a second for `secs`, on a fixed schedule: a late send counts as latency. Whether all
    /// came, with p99 under the limit.
    pub(super) async fn open_loop(&mut self, rate: f64, secs: f64) -> (bool, Value) {
        self.crowd.reset();
        let heard = self.crowd.heard.clone();
        let everyone = self.crowd.members.len() as u64;
        let meter = Meter::start(&self.run.procs);
        let (t0, begin) = (heard.clock.nanos(), Instant::now());
        let total = (rate * secs).ceil().max(1.0) as u64;
        let mut sent = 0u64;
        while sent < total {
            let due = ((begin.elapsed().as_secs_f64() * rate) as u64 + 1).min(total);
            while sent < due {
                self.send(t0 + (sent as f64 / rate * 1e9) as u64);
                sent += 1;
            }
            let next = Duration::from_secs_f64(sent as f64 / rate).saturating_sub(begin.elapsed());
            tokio::time::sleep(next.max(Duration::from_micros(500))).await;
            // Its p99 is lost by now, and it must not be flooded without bound.
            let behind = sent as f64 - heard.deliveries.get() as f64 / everyone as f64;
            if behind > rate * FAR_BEHIND_SECS + 4.0 {
                break;
            }
        }
        let cpu = meter.read();
        let all = self.settle(sent * everyone).await;
        let wall = begin.elapsed().as_secs_f64();
        let latency = heard.delivery.borrow();
        let ok = all && sent == total && latency.ms(0.99) < P99_LIMIT_MS;
        let deliveries_s = heard.deliveries.get() as f64 / wall;
        let missing = (sent * everyone).saturating_sub(heard.deliveries.get());
        let step = json!({"rate": rate, "ok": ok, "deliveries_s": deliveries_s, "missing": missing,
            "latency": latency.json(), "cpu": cpu, "trouble": heard.trouble()});
        (ok, step)
    }

    /// As fast as deliveries come back, with `window` messages under way.
    async fn flat_out(&mut self, window: u64, secs: f64) -> Value {
        self.crowd.reset();
        let heard = self.crowd.heard.clone();
        let everyone = self.crowd.members.len() as u64;
        let meter = Meter::start(&self.run.procs);
        let begin = Instant::now();
        let mut sent = 0u64;
        while begin.elapsed().as_secs_f64() < secs {
            while sent < heard.deliveries.get() / everyone + window {
                self.send(heard.clock.nanos());
                sent += 1;
            }
            heard.wake_at.set((sent + 1).saturating_sub(window) * everyone);
            let wait = Duration::from_millis(100);
            let _ = tokio::time::timeout(wait, heard.progress.notified()).await;
        }
        let wall = begin.elapsed().as_secs_f64();
        let rate = heard.deliveries.get() as f64 / wall;
        let (cpu, latency) = (meter.read(), heard.delivery.borrow().json());
        let by_server = heard.by_server.borrow().each_ref().map(Latency::json);
        heard.wake_at.set(u64::MAX);
        self.settle(sent * everyone).await;
        let missing = (sent * everyone).saturating_sub(heard.deliveries.get());
        json!({"window": window, "deliveries_s": rate, "messages_s": rate / everyone as f64,
            "missing": missing, "latency": latency, "by_server": by_server, "cpu": cpu})
    }
}
