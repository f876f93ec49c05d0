//! What may break, how long, and how it is mended.
//! Never who notices.

use crate::chance::Chance;
use crate::fleet::{Fleet, NODES};
use crate::wait::pause;
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
        let lasts = |short: u64, long: u64| Duration::from_secs(if at_length { long } else { short });
        match self {
            Fault::NodeKilled => {
                fleet.nodes[victim].dies().await;
                pause(lasts(1, 5)).await;
                fleet.nodes[victim].serves().await;
            }
            Fault::NodeStopped => {
                fleet.nodes[victim].is_stopped(true);
                pause(lasts(5, 20)).await;
                fleet.nodes[victim].is_stopped(false);
            }
            Fault::RedisKilled => {
                fleet.redis.dies().await;
                pause(lasts(2, 10)).await;
                fleet.redis.serves().await;
            }
            Fault::RedisPaused => {
                fleet.redis.is_stopped(true);
                pause(lasts(4, 15)).await;
                fleet.redis.is_stopped(false);
            }
            Fault::HintsLost => {
                fleet.nodes.iter().for_each(|node| node.redis.loses(30));
                pause(lasts(4, 15)).await;
                fleet.nodes.iter().for_each(|node| node.redis.loses(0));
                assert!(fleet.nodes.iter().all(|node| node.redis.lost() > 0), "no hint was lost");
            }
            Fault::RedisCut => {
                for _ in 0..lasts(8, 30).as_secs() {
                    fleet.nodes[chance.below(NODES)].redis.cuts();
                    pause(chance.millis(50..=900)).await;
                }
            }
            Fault::RedisParted => {
                fleet.nodes[victim].redis.freezes(true);
                pause(lasts(4, 15)).await;
                fleet.nodes[victim].redis.freezes(false);
            }
            Fault::PostgresRestarted => {
                fleet.postgres.stops().await;
                pause(chance.millis(0..=500)).await;
                fleet.postgres.serves().await;
            }
            Fault::PostgresPaused => {
                fleet.nodes.iter().for_each(|node| node.database.freezes(true));
                pause(lasts(3, 15)).await;
                fleet.nodes.iter().for_each(|node| node.database.freezes(false));
            }
            Fault::PostgresCut => {
                for _ in 0..lasts(6, 20).as_secs() {
                    fleet.nodes[victim].database.cuts();
                    pause(chance.millis(100..=900)).await;
                }
            }
            Fault::BalancerReloaded => {
                for _ in 0..lasts(4, 10).as_secs() {
                    fleet.balancer.reloads().await;
                    pause(chance.millis(300..=900)).await;
                }
            }
            Fault::BalancerRestarted => {
                fleet.balancer.stops().await;
                pause(lasts(1, 5)).await;
                fleet.balancer.serves().await;
            }
            Fault::RollingRestart => {
                for at in 0..NODES {
                    let node = &mut fleet.nodes[(victim + at) % NODES];
                    node.stops().await;
                    node.serves().await;
                }
            }
            Fault::ClockAhead | Fault::ClockBehind => {
                let node = &mut fleet.nodes[victim];
                node.stops().await;
                node.serves_with_clock(if self == Fault::ClockAhead { 300 } else { -300 }).await;
                pause(lasts(4, 15)).await;
            }
        }
    }
}
