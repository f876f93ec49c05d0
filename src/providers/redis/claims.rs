//! Who is connected where, as Redis keeps it: for each user a hash of node and sign-in, for each node a set of its users.
//! Never who is shown as what, and never whether a node lives: that is for the callers.
//!
//! # Why
//! A user's claims are one key, so that one step tells what was before and after it, on whichever shard it lies. They
//! end by themselves when their nodes no longer refresh them; a node that has gone is told by its lease long before.

use super::link::{Live, Wire};
use actors::cluster::{Claim, Claimed};
use actors::protocol::view::Status;
use entities::{SessionId, UserId};
use futures_util::future::join_all;
use parking_lot::Mutex;
use redis::{Pipeline, RedisResult, pipe};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// A claim that nobody refreshes ends after this.
const KEPT: Duration = Duration::from_secs(300);
/// How often they are refreshed.
const REFRESH_EVERY: Duration = Duration::from_secs(120);
/// Users in one go.
const PAGE: usize = 500;

/// The claims of one node.
pub struct Claims {
    wire: Arc<Wire>,
    node: Arc<str>,
    /// This node's own, for when Redis is away or has forgotten them.
    own: Mutex<HashMap<UserId, HashMap<SessionId, Status>>>,
}

impl Claims {
    pub fn new(wire: Arc<Wire>, node: Arc<str>) -> Claims {
        Claims { wire, node, own: Mutex::default() }
    }

    /// One device; see `Cluster::claim`.
    pub fn claim(
        self: &Arc<Self>,
        user: UserId,
        session: SessionId,
        status: Option<Status>,
    ) -> impl Future<Output = Claimed> + Send + use<> {
        let (before, devices) = {
            let mut own = self.own.lock();
            let before = self.of_node(&own, user);
            let devices = own.entry(user).or_default();
            match status {
                Some(status) => devices.insert(session, status),
                None => devices.remove(&session),
            };
            let devices = devices.clone();
            if devices.is_empty() {
                own.remove(&user);
            }
            (before, devices)
        };
        let claims = self.clone();
        async move {
            let step = claims.step(user, session, status, devices.is_empty());
            let after = devices.into_iter().map(|(session, status)| claims.own_claim(session, status)).collect();
            step.await.unwrap_or(Claimed { before, after })
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
        one.cmd("HGETALL").arg(&key);
        let mut other = pipe();
        let verb = if last { "SREM" } else { "SADD" };
        other.cmd(verb).arg(self.node_key(&self.node)).arg(user.to_string()).ignore();
        let (steps, listed) = tokio::join!(
            one.query_async::<(HashMap<String, String>, HashMap<String, String>)>(&mut live.commands),
            other.exec_async(&mut commands)
        );
        match (steps, listed) {
            (Ok((before, after)), Ok(())) => Some(Claimed { before: read(before), after: read(after) }),
            (Err(error), _) | (_, Err(error)) => {
                self.wire.fault(&live, &error);
                None
            }
        }
    }

    /// The claims of users, in their order; this node's alone while Redis is away.
    pub async fn of(&self, users: Vec<UserId>) -> Vec<Vec<Claim>> {
        let mut found = Vec::with_capacity(users.len());
        for page in users.chunks(PAGE) {
            match self.page(page).await {
                Some(claims) => found.extend(claims),
                None => {
                    let own = self.own.lock();
                    found.extend(page.iter().map(|user| self.of_node(&own, *user)));
                }
            }
        }
        found
    }

    async fn page(&self, users: &[UserId]) -> Option<Vec<Vec<Claim>>> {
        let live = self.wire.live()?;
        let each = users.iter().map(|user| {
            let mut commands = live.commands.clone();
            let key = self.user_key(*user);
            async move { redis::cmd("HGETALL").arg(key).query_async::<HashMap<String, String>>(&mut commands).await }
        });
        let found: RedisResult<Vec<_>> = join_all(each).await.into_iter().collect();
        match found {
            Ok(found) => Some(found.into_iter().map(read).collect()),
            Err(error) => {
                self.wire.fault(&live, &error);
                None
            }
        }
    }

    /// Takes a node's claims away; see `Cluster::disown`.
    pub async fn disown(&self, node: &str) -> Vec<UserId> {
        let mut had = Vec::new();
        let Some(mut live) = self.wire.live() else { return had };
        loop {
            // Who takes a user out of the set is the one who is told of them.
            let mut pop = redis::cmd("SPOP");
            pop.arg(self.node_key(node)).arg(PAGE);
            let popped: RedisResult<Vec<String>> = pop.query_async(&mut live.commands).await;
            let users: Vec<UserId> = match popped {
                Ok(popped) if popped.is_empty() => return had,
                Ok(popped) => popped.iter().filter_map(|user| user.parse().ok()).collect(),
                Err(error) => {
                    self.wire.fault(&live, &error);
                    return had;
                }
            };
            for (user, claims) in users.iter().zip(self.of(users.clone()).await) {
                let mut fields = Vec::new();
                for claim in claims {
                    if *claim.node == *node {
                        fields.push(field(node, claim.session));
                    }
                }
                if fields.is_empty() {
                    continue;
                }
                let mut gone = redis::cmd("HDEL");
                gone.arg(self.user_key(*user)).arg(fields);
                if let Err(error) = gone.exec_async(&mut live.commands).await {
                    self.wire.fault(&live, &error);
                }
            }
            had.extend(users);
        }
    }

    /// Makes what this node claims true in Redis: now and then, and whenever the link has come up. Meanwhile Redis may
    /// have forgotten it, and people may have gone.
    pub async fn keep(self: Arc<Self>, came_up: Arc<Notify>) {
        loop {
            tokio::select! {
                () = self.wire.clock.sleep(REFRESH_EVERY) => {}
                () = came_up.notified() => {}
            }
            for page in self.users().await.chunks(PAGE) {
                self.clear(page).await;
                self.refresh(page).await;
            }
        }
    }

    /// Whom this node claims, and whom Redis says that it does.
    async fn users(&self) -> Vec<UserId> {
        let mut users: HashSet<UserId> = self.own.lock().keys().copied().collect();
        if let Some(mut live) = self.wire.live() {
            let mut members = redis::cmd("SMEMBERS");
            let members = members.arg(self.node_key(&self.node)).query_async::<Vec<String>>(&mut live.commands);
            match members.await {
                Ok(members) => users.extend(members.iter().filter_map(|user| user.parse::<UserId>().ok())),
                Err(error) => self.wire.fault(&live, &error),
            }
        }
        users.into_iter().collect()
    }

    /// Takes away what Redis says and this node does not. A claim that is made meanwhile is refreshed afterwards.
    async fn clear(&self, users: &[UserId]) {
        let (Some(live), Some(found)) = (self.wire.live(), self.page(users).await) else { return };
        let mut pipelines = Vec::new();
        {
            let own = self.own.lock();
            for (user, claims) in users.iter().zip(found) {
                let devices = own.get(user);
                let is_gone = |claim: &Claim| {
                    claim.node == self.node && devices.is_none_or(|own| !own.contains_key(&claim.session))
                };
                let gone = claims.iter().filter(|claim| is_gone(claim)).map(|claim| field(&self.node, claim.session));
                let gone: Vec<String> = gone.collect();
                if !gone.is_empty() {
                    pipelines.push(single("HDEL", &self.user_key(*user), gone));
                }
                if devices.is_none() {
                    pipelines.push(single("SREM", &self.node_key(&self.node), vec![user.to_string()]));
                }
            }
        }
        self.send_all(&live, &pipelines).await;
    }

    async fn refresh(&self, users: &[UserId]) {
        let Some(live) = self.wire.live() else { return };
        let pipelines: Vec<Pipeline> = {
            let own = self.own.lock();
            let claimed: Vec<_> = users.iter().filter_map(|user| own.get(user).map(|own| (*user, own))).collect();
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

    /// All at once; in a Redis Cluster they go to different shards.
    async fn send_all(&self, live: &Live, pipelines: &[Pipeline]) {
        let each = pipelines.iter().map(|pipeline| {
            let mut commands = live.commands.clone();
            async move { pipeline.exec_async(&mut commands).await }
        });
        if let Some(error) = join_all(each).await.into_iter().find_map(Result::err) {
            self.wire.fault(live, &error);
        }
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

    fn of_node(&self, own: &HashMap<UserId, HashMap<SessionId, Status>>, user: UserId) -> Vec<Claim> {
        let devices = own.get(&user).into_iter().flatten();
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
