//! Who is connected where, as Redis keeps it: for each user a hash of node and sign-in, for each node a set of its users.
//! Never who is shown as what, and never whether a node lives: that is for the callers.
//!
//! # Why
//! A user's claims are one key, so that one step tells what was before and after it, on whichever shard it lies. They
//! end by themselves when their nodes no longer refresh them; a node that has gone is told by its lease long before.

use super::link::{Live, Wire};
use actors::cluster::{Claim, Claimed, Found};
use actors::guard::guarded;
use actors::protocol::view::Status;
use entities::{SessionId, UserId};
use futures_util::future::{FutureExt as _, join_all};
use parking_lot::Mutex;
use redis::{Pipeline, RedisResult, pipe};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::coop::unconstrained;

/// A claim that nobody refreshes ends after this.
const KEPT: Duration = Duration::from_secs(300);
/// How often they are refreshed.
const REFRESH_EVERY: Duration = Duration::from_secs(120);
/// Users in one go.
const PAGE: usize = 500;
/// Claims that were given up and are remembered at most. What is beyond ends by itself.
const GIVEN_UP: usize = 100_000;
/// How often such a one is taken away again: a master that has taken over may know it still.
const AGAIN: u8 = 2;

/// The claims of one node.
pub struct Claims {
    wire: Arc<Wire>,
    node: Arc<str>,
    /// This node's own, for when Redis is away or has forgotten them.
    own: Mutex<Own>,
}

#[derive(Default)]
struct Own {
    devices: HashMap<UserId, HashMap<SessionId, Status>>,
    /// Those that this node has made and given up, and how often they are to be taken away again.
    given_up: HashMap<(UserId, SessionId), u8>,
}

impl Own {
    /// Makes or gives up a claim; gives all of the user's that are left.
    fn set(&mut self, user: UserId, session: SessionId, status: Option<Status>) -> HashMap<SessionId, Status> {
        let devices = self.devices.entry(user).or_default();
        match status {
            Some(status) => {
                devices.insert(session, status);
                self.given_up.remove(&(user, session));
            }
            None => {
                if devices.remove(&session).is_some() && self.given_up.len() < GIVEN_UP {
                    self.given_up.insert((user, session), AGAIN);
                }
            }
        }
        let devices = devices.clone();
        if devices.is_empty() {
            self.devices.remove(&user);
        }
        devices
    }
}

impl Claims {
    pub fn new(wire: Arc<Wire>, node: Arc<str>) -> Claims {
        Claims { wire, node, own: Mutex::default() }
    }

    /// One device; see `Cluster::claim`. Begun at the call, so that claims of one device keep their order; in a Redis Cluster
    /// a slot that moves at that moment may turn two of them round, until they are refreshed.
    pub fn claim(
        self: &Arc<Self>,
        user: UserId,
        session: SessionId,
        status: Option<Status>,
    ) -> impl Future<Output = Claimed> + Send + use<> {
        let (before, devices) = {
            let mut own = self.own.lock();
            (self.of_node(&own, user), own.set(user, session, status))
        };
        let (claims, last) = (self.clone(), devices.is_empty());
        let mut step = unconstrained(async move { claims.step(user, session, status, last).await }).boxed();
        // Looked at once, it has put its commands into the connection, which has room for all of them where it is to one
        // server.
        let done = step.as_mut().now_or_never();
        let claims = self.clone();
        async move {
            let done = match done {
                Some(done) => done,
                None => step.await,
            };
            let after = devices.into_iter().map(|(session, status)| claims.own_claim(session, status)).collect();
            done.unwrap_or(Claimed { before, after })
        }
    }

    /// The same in Redis; `None` if it is away.
    async fn step(&self, user: UserId, session: SessionId, status: Option<Status>, last: bool) -> Option<Claimed> {
        let mut live = self.wire.live()?;
        let mut commands = live.commands.clone();
        let (key, field) = (self.user_key(user), field(&self.node, session));
        let mut one = pipe();
        one.atomic().cmd("HGETALL").arg(&key);
        match status {
            Some(status) => {
                one.cmd("HSET").arg(&key).arg(field).arg(name(status)).ignore();
                one.cmd("PEXPIRE").arg(&key).arg(KEPT.as_millis() as u64).ignore();
            }
            None => drop(one.cmd("HDEL").arg(&key).arg(field).ignore()),
        }
        let mut other = pipe();
        let verb = if last { "SREM" } else { "SADD" };
        other.cmd(verb).arg(self.node_key(&self.node)).arg(user.to_string()).ignore();
        let (steps, listed) = tokio::join!(
            one.query_async::<(HashMap<String, String>,)>(&mut live.commands),
            other.exec_async(&mut commands)
        );
        match (steps, listed) {
            (Ok((before,)), Ok(())) => {
                let before = read(before);
                let mut after = before.clone();
                after.retain(|claim| claim.node != self.node || claim.session != session);
                after.extend(status.map(|status| self.own_claim(session, status)));
                Some(Claimed { before, after })
            }
            (Err(error), _) | (_, Err(error)) => {
                self.wire.fault(&live, &error);
                None
            }
        }
    }

    /// The claims of users; this node's alone while Redis is away.
    pub async fn of(&self, users: Vec<UserId>) -> Found {
        let mut claims = Vec::with_capacity(users.len());
        for page in users.chunks(PAGE) {
            match self.page(page).await {
                Some(found) => claims.extend(found),
                None => {
                    let own = self.own.lock();
                    let claims = users.iter().map(|user| self.of_node(&own, *user)).collect();
                    return Found { claims, everywhere: false };
                }
            }
        }
        Found { claims, everywhere: true }
    }

    async fn page(&self, users: &[UserId]) -> Option<Vec<Vec<Claim>>> {
        let live = self.wire.live()?;
        let each = users.iter().map(|user| {
            let mut commands = live.commands.clone();
            let key = self.user_key(*user);
            async move { redis::cmd("HGETALL").arg(key).query_async::<HashMap<String, String>>(&mut commands).await }
        });
        let found: RedisResult<Vec<_>> = join_all(each).await.into_iter().collect();
        self.heard(&live, found).map(|found| found.into_iter().map(read).collect())
    }

    /// Takes a node's claims away; see `Cluster::disown`.
    ///
    /// # Why in this order
    /// A user stays in the node's set until their claims are gone: of whoever dies over it, another finds what is left.
    pub async fn disown(&self, node: &str) -> Option<Vec<UserId>> {
        let live = self.wire.live()?;
        let mut commands = live.commands.clone();
        loop {
            let mut some = redis::cmd("SRANDMEMBER");
            some.arg(self.node_key(node)).arg(PAGE);
            let members: Vec<String> = self.heard(&live, some.query_async(&mut commands).await)?;
            if members.is_empty() {
                return Some(Vec::new());
            }
            let users: Vec<UserId> = members.iter().filter_map(|user| user.parse().ok()).collect();
            let mut pipelines = Vec::new();
            for (user, claims) in users.iter().zip(self.page(&users).await?) {
                let of_node = claims.iter().filter(|claim| *claim.node == *node);
                let fields: Vec<String> = of_node.map(|claim| field(node, claim.session)).collect();
                if !fields.is_empty() {
                    pipelines.push(single("HDEL", &self.user_key(*user), fields));
                }
            }
            if !self.send_all(&live, &pipelines).await {
                return None;
            }
            // Who takes a user out of the set is the one who is told of them.
            let mut taken = pipe();
            for user in &members {
                taken.cmd("SREM").arg(self.node_key(node)).arg(user);
            }
            let taken: Vec<bool> = self.heard(&live, taken.query_async(&mut commands).await)?;
            let mine = members.iter().zip(taken).filter(|(_, taken)| *taken);
            let mine: Vec<UserId> = mine.filter_map(|(user, _)| user.parse().ok()).collect();
            if !mine.is_empty() {
                return Some(mine);
            }
        }
    }

    /// What Redis answered, if it did.
    fn heard<T>(&self, live: &Live, answer: RedisResult<T>) -> Option<T> {
        answer.inspect_err(|error| self.wire.fault(live, error)).ok()
    }

    /// Makes what this node claims true in Redis: now and then, and whenever the link has come up. Meanwhile Redis may
    /// have forgotten it, and people may have gone.
    pub async fn keep(self: Arc<Self>, came_up: Arc<Notify>) {
        loop {
            tokio::select! {
                () = self.wire.clock.sleep(REFRESH_EVERY) => {}
                () = came_up.notified() => {}
            }
            guarded("the keeper of claims", self.keep_once()).await;
        }
    }

    async fn keep_once(&self) {
        self.clear().await;
        let users: Vec<UserId> = self.own.lock().devices.keys().copied().collect();
        for page in users.chunks(PAGE) {
            self.refresh(page).await;
        }
    }

    /// Takes away what this node has given up, which Redis may not have heard. Nothing else, though it be under this
    /// node's name: it is of a node that had the name before, or has it. A claim that is made meanwhile is refreshed
    /// afterwards.
    async fn clear(&self) {
        let given_up: Vec<(UserId, SessionId)> = self.own.lock().given_up.keys().copied().collect();
        for page in given_up.chunks(PAGE) {
            let Some(live) = self.wire.live() else { return };
            let mut pipelines = Vec::new();
            {
                let own = self.own.lock();
                for (user, session) in page.iter().filter(|pair| own.given_up.contains_key(pair)) {
                    pipelines.push(single("HDEL", &self.user_key(*user), vec![field(&self.node, *session)]));
                    if !own.devices.contains_key(user) {
                        pipelines.push(single("SREM", &self.node_key(&self.node), vec![user.to_string()]));
                    }
                }
            }
            if !self.send_all(&live, &pipelines).await {
                return;
            }
            let mut own = self.own.lock();
            for pair in page {
                if let Some(again) = own.given_up.get_mut(pair) {
                    *again -= 1;
                    if *again == 0 {
                        own.given_up.remove(pair);
                    }
                }
            }
        }
    }

    async fn refresh(&self, users: &[UserId]) {
        let Some(live) = self.wire.live() else { return };
        let pipelines: Vec<Pipeline> = {
            let own = self.own.lock();
            let claimed: Vec<_> = users.iter().filter_map(|user| Some((*user, own.devices.get(user)?))).collect();
            if claimed.is_empty() {
                return;
            }
            let node_key = self.node_key(&self.node);
            let mut listed = single("SADD", &node_key, claimed.iter().map(|(user, _)| user.to_string()).collect());
            listed.cmd("PEXPIRE").arg(&node_key).arg(KEPT.as_millis() as u64).ignore();
            claimed.into_iter().map(|(user, devices)| self.refreshed(user, devices)).chain([listed]).collect()
        };
        self.send_all(&live, &pipelines).await;
    }

    /// All at once; in a Redis Cluster they go to different shards. Tells whether all were heard.
    async fn send_all(&self, live: &Live, pipelines: &[Pipeline]) -> bool {
        let each = pipelines.iter().map(|pipeline| {
            let mut commands = live.commands.clone();
            async move { pipeline.exec_async(&mut commands).await }
        });
        let sent: RedisResult<Vec<()>> = join_all(each).await.into_iter().collect();
        self.heard(live, sent).is_some()
    }

    fn refreshed(&self, user: UserId, devices: &HashMap<SessionId, Status>) -> Pipeline {
        let mut pipeline = pipe();
        let key = self.user_key(user);
        let set = pipeline.cmd("HSET").arg(&key);
        for (session, status) in devices {
            set.arg(field(&self.node, *session)).arg(name(*status));
        }
        set.ignore().cmd("PEXPIRE").arg(&key).arg(KEPT.as_millis() as u64).ignore();
        pipeline
    }

    fn of_node(&self, own: &Own, user: UserId) -> Vec<Claim> {
        let devices = own.devices.get(&user).into_iter().flatten();
        devices.map(|(session, status)| self.own_claim(*session, *status)).collect()
    }

    fn own_claim(&self, session: SessionId, status: Status) -> Claim {
        Claim { node: self.node.clone(), session, status }
    }

    fn user_key(&self, user: UserId) -> String {
        format!("{}there:{}", self.wire.prefix, user.uuid().simple())
    }

    fn node_key(&self, node: &str) -> String {
        format!("{}users:{node}", self.wire.prefix)
    }
}

/// One command that takes a list.
fn single(verb: &str, key: &str, items: Vec<String>) -> Pipeline {
    let mut pipeline = pipe();
    pipeline.cmd(verb).arg(key).arg(items).ignore();
    pipeline
}

/// A claim's place in its user's hash.
fn field(node: &str, session: SessionId) -> String {
    format!("{node}/{}", session.uuid().simple())
}

fn read(hash: HashMap<String, String>) -> Vec<Claim> {
    let claim = |(field, value): (String, String)| {
        let (node, session) = field.rsplit_once('/')?;
        Some(Claim { node: node.into(), session: session.parse().ok()?, status: status(&value)? })
    };
    hash.into_iter().filter_map(claim).collect()
}

fn name(status: Status) -> &'static str {
    match status {
        Status::Online => "online",
        Status::Away => "away",
        Status::Busy => "busy",
        Status::Offline => "offline",
    }
}

fn status(name: &str) -> Option<Status> {
    [Status::Online, Status::Away, Status::Busy, Status::Offline].into_iter().find(|status| self::name(*status) == name)
}
