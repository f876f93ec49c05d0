//! Who is connected where, as two ends of one Redis keep it: of one name, of which one has gone, and without an answer.
//! Never how somebody is shown.

use crate::support::redis::has_redis_server;
use crate::support::*;
use actors::clock::{Clock, SystemClock};
use actors::cluster::{Cluster, Link};
use actors::protocol::view::Status;
use entities::{SessionId, UserId};
use quckchat::config::Config;
use quckchat::providers::redis::RedisCluster;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

async fn joined(redis: &RedisServer, node: &str) -> Arc<RedisCluster> {
    let mut config = Config::shipped().unwrap().cluster;
    config.url = serde_json::from_value(redis.url().into()).unwrap();
    let clock = Arc::new(SystemClock::default()) as Arc<dyn Clock>;
    let cluster = RedisCluster::start(&config, node, clock).await.unwrap();
    until("the link to come up", async || cluster.link() == Link::Up).await;
    cluster
}

fn user(number: u128) -> UserId {
    UserId::from_uuid(Uuid::from_u128(number))
}

async fn claims(cluster: &RedisCluster, user: UserId) {
    cluster.claim(user, SessionId::from_uuid(user.uuid()), Some(Status::Online)).await;
}

#[actix_web::test]
async fn one_of_the_same_name_leaves_the_others_people_alone() {
    if !has_redis_server() {
        return;
    }
    let redis = RedisServer::start(&[]).await;
    let (first, other) = (joined(&redis, "one").await, joined(&redis, "two").await);
    claims(&first, user(1)).await;
    let second = joined(&redis, "one").await;
    claims(&second, user(2)).await;
    // Its first refresh has come as far as a claim of its own, which went the same way later.
    let listed = async || redis.asked(&["SMEMBERS", "quckchat:users:one"]).contains(&user(2).to_string());
    until("the claim to be listed", listed).await;
    until("each to be claimed once", async || {
        let found = other.claims(vec![user(1), user(2)]).await;
        found.everywhere && found.claims.iter().all(|claims| claims.len() == 1)
    })
    .await;
    // And whoever clears away finds both. What was done and not answered in time is told to nobody: then once more.
    let both = HashSet::from([user(1), user(2)]);
    until("both to be found", async || {
        if let Some(had) = other.disown("one").await {
            return had.into_iter().collect::<HashSet<_>>() == both;
        }
        claims(&first, user(1)).await;
        claims(&second, user(2)).await;
        false
    })
    .await;
}

#[actix_web::test]
async fn of_those_who_clear_away_each_user_is_told_to_one() {
    const USERS: u128 = 1200;
    if !has_redis_server() {
        return;
    }
    let redis = RedisServer::start(&[]).await;
    let gone = joined(&redis, "gone").await;
    let (one, two) = (joined(&redis, "one").await, joined(&redis, "two").await);
    let buries = async |cluster: &RedisCluster| {
        let mut had = Vec::new();
        loop {
            match cluster.disown("gone").await? {
                more if more.is_empty() => return Some(had),
                more => had.extend(more),
            }
        }
    };
    // What was done and not answered in time is told to nobody: then once more, from the beginning.
    let mut had = Vec::new();
    until("all to be told", async || {
        // Not all at once: each is answered within a second, also where Redis has little of a machine. Where one was not,
        // it is made good as soon as the link is up again.
        for portion in (0..USERS).collect::<Vec<_>>().chunks(100) {
            futures_util::future::join_all(portion.iter().map(|number| claims(&gone, user(*number)))).await;
        }
        let listed = async || redis.asked(&["SCARD", "quckchat:users:gone"]).trim() == USERS.to_string();
        until("all claims to be listed", listed).await;
        let (Some(ones), Some(twos)) = tokio::join!(buries(&one), buries(&two)) else { return false };
        had = [ones, twos].concat();
        true
    })
    .await;
    assert_eq!(had.len(), USERS as usize);
    assert_eq!(had.into_iter().collect::<HashSet<_>>().len(), USERS as usize);
    until("nobody to be claimed", async || {
        let found = one.claims((0..USERS).map(user).collect()).await;
        found.everywhere && found.claims.iter().all(Vec::is_empty)
    })
    .await;
}

#[actix_web::test]
async fn while_redis_does_not_answer_nobody_can_tell() {
    if !has_redis_server() {
        return;
    }
    let redis = RedisServer::start(&[]).await;
    let (one, two) = (joined(&redis, "one").await, joined(&redis, "two").await);
    claims(&one, user(1)).await;
    claims(&two, user(2)).await;
    redis.pauses();
    let found = one.claims(vec![user(1), user(2)]).await;
    assert!(!found.everywhere);
    assert_eq!(found.claims.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0], "its own are known");
    assert_eq!(one.disown("two").await, None);
    redis.goes_on();
    until("Redis to tell again", async || {
        let found = one.claims(vec![user(2)]).await;
        found.everywhere && found.claims[0].len() == 1
    })
    .await;
}
