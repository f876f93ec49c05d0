//! What may break, how long, and how it is mended.
//! Never who notices.

use crate::chance::Chance;
use crate::fleet::{Fleet, NODES};
use crate::wait::{self, pause};
use std::time::Duration;

/// What breaks in a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// A node is killed, and started again a second later.
    NodeKilled,
    /// A node stands still, and goes on.
    NodeStopped,
    /// Redis is killed, and comes back empty.
    RedisKilled,
    /// Redis stands still, and goes on.
    RedisPaused,
    /// Three in ten of what Redis publishes do not arrive, and nobody is told.
    HintsLost,
    /// Connections to Redis are cut, again and again.
    RedisCut,
    /// Nothing passes between one node and Redis; then everything does.
    RedisParted,
    /// PostgreSQL is shut down at once, and started again.
    PostgresRestarted,
    /// Nothing passes between the nodes and PostgreSQL; then everything does.
    PostgresPaused,
    /// One node's connections to PostgreSQL are cut, again and again.
    PostgresCut,
    /// HAProxy reads its file again, while clients talk through it.
    BalancerReloaded,
    /// HAProxy is ended, and started again.
    BalancerRestarted,
    /// All nodes are stopped in order and started again, one after another.
    RollingRestart,
    /// A node comes back with a clock that is five minutes ahead.
    ClockAhead,
    /// The same, five minutes behind.
    ClockBehind,
}

impl Fault {
    /// As the table calls it.
    pub fn name(self) -> &'static str {
        match self {
            Fault::NodeKilled => "node killed and restarted",
            Fault::NodeStopped => "node stopped (SIGSTOP)",
            Fault::RedisKilled => "Redis killed, restarted empty",
            Fault::RedisPaused => "Redis paused (SIGSTOP)",
            Fault::HintsLost => "Redis hints dropped at random",
            Fault::RedisCut => "Redis connections cut",
            Fault::RedisParted => "Redis parted from one node",
            Fault::PostgresRestarted => "PostgreSQL restarted",
            Fault::PostgresPaused => "PostgreSQL paused",
            Fault::PostgresCut => "PostgreSQL connections cut",
            Fault::BalancerReloaded => "HAProxy reloaded",
            Fault::BalancerRestarted => "HAProxy restarted",
            Fault::RollingRestart => "rolling restart",
            Fault::ClockAhead => "clock 5 minutes ahead",
            Fault::ClockBehind => "clock 5 minutes behind",
        }
    }

    /// Breaks it and mends it; ends when nothing is broken any more.
    pub async fn happens(self, fleet: &mut Fleet, chance: &mut Chance, at_length: bool) {
        let victim = chance.below(NODES);
        let mut breaking = Breaking { fleet, chance, at_length, victim };
        match self {
            Fault::NodeKilled | Fault::NodeStopped | Fault::RollingRestart => breaking.nodes(self).await,
            Fault::ClockAhead => breaking.clock(300).await,
            Fault::ClockBehind => breaking.clock(-300).await,
            Fault::RedisKilled | Fault::RedisPaused => breaking.redis(self).await,
            Fault::HintsLost | Fault::RedisCut | Fault::RedisParted => breaking.ways_to_redis(self).await,
            Fault::PostgresRestarted | Fault::PostgresPaused | Fault::PostgresCut => breaking.postgres(self).await,
            Fault::BalancerReloaded | Fault::BalancerRestarted => breaking.balancer(self).await,
        }
    }
}

/// A fault under way.
struct Breaking<'a> {
    fleet: &'a mut Fleet,
    chance: &'a mut Chance,
    at_length: bool,
    /// The node that it meets.
    victim: usize,
}

impl Breaking<'_> {
    /// So many seconds: in a short run, or at length.
    fn secs(&self, short: u64, long: u64) -> u64 {
        if self.at_length { long } else { short }
    }

    async fn lasts(&self, short: u64, long: u64) {
        pause(Duration::from_secs(self.secs(short, long))).await;
    }

    async fn nodes(&mut self, fault: Fault) {
        match fault {
            Fault::NodeKilled => {
                self.fleet.nodes[self.victim].dies().await;
                self.lasts(1, 5).await;
                self.fleet.nodes[self.victim].serves().await;
            }
            Fault::NodeStopped => {
                self.fleet.nodes[self.victim].is_stopped(true);
                self.lasts(5, 20).await;
                self.fleet.nodes[self.victim].is_stopped(false);
            }
            _ => {
                for at in 0..NODES {
                    let node = &mut self.fleet.nodes[(self.victim + at) % NODES];
                    node.stops().await;
                    node.serves().await;
                }
            }
        }
    }

    async fn clock(&mut self, ahead: i32) {
        let node = &mut self.fleet.nodes[self.victim];
        node.stops().await;
        node.serves_with_clock(ahead).await;
        self.lasts(4, 15).await;
    }

    async fn redis(&mut self, fault: Fault) {
        if fault == Fault::RedisKilled {
            self.fleet.redis.dies().await;
            self.lasts(2, 10).await;
            self.fleet.redis.serves().await;
        } else {
            self.fleet.redis.is_stopped(true);
            self.lasts(4, 15).await;
            self.fleet.redis.is_stopped(false);
        }
    }

    async fn ways_to_redis(&mut self, fault: Fault) {
        let nodes = &self.fleet.nodes;
        match fault {
            Fault::HintsLost => {
                nodes.iter().for_each(|node| node.redis.loses(30));
                self.lasts(4, 15).await;
                // However slowly the crowd talks at one of them meanwhile.
                let lost = async || nodes.iter().all(|node| node.redis.lost() > 0).then_some(());
                wait::must("a hint to be lost at each node", lost).await;
                nodes.iter().for_each(|node| node.redis.loses(0));
            }
            Fault::RedisCut => {
                for _ in 0..self.secs(8, 30) {
                    nodes[self.chance.below(NODES)].redis.cuts();
                    pause(self.chance.millis(50..=900)).await;
                }
            }
            _ => {
                nodes[self.victim].redis.freezes(true);
                self.lasts(4, 15).await;
                nodes[self.victim].redis.freezes(false);
            }
        }
    }

    async fn postgres(&mut self, fault: Fault) {
        match fault {
            Fault::PostgresRestarted => {
                self.fleet.postgres.stops().await;
                pause(self.chance.millis(0..=500)).await;
                self.fleet.postgres.serves().await;
            }
            Fault::PostgresPaused => {
                self.fleet.nodes.iter().for_each(|node| node.database.freezes(true));
                self.lasts(3, 15).await;
                self.fleet.nodes.iter().for_each(|node| node.database.freezes(false));
            }
            _ => {
                for _ in 0..self.secs(6, 20) {
                    self.fleet.nodes[self.victim].database.cuts();
                    pause(self.chance.millis(100..=900)).await;
                }
            }
        }
    }

    async fn balancer(&mut self, fault: Fault) {
        if fault == Fault::BalancerReloaded {
            for _ in 0..self.secs(4, 10) {
                self.fleet.balancer.reloads().await;
                pause(self.chance.millis(300..=900)).await;
            }
        } else {
            self.fleet.balancer.stops().await;
            self.lasts(1, 5).await;
            self.fleet.balancer.serves().await;
        }
    }
}
