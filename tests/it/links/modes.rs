//! The ways in which Redis may be there: with TLS, with few rights, behind Sentinels, as a Redis Cluster.

use super::{is_linked, is_shown};
use crate::support::certificate::{Files, Pair};
use crate::support::redis::has_redis_server;
use crate::support::*;
use quckchat::config::{ClusterKind, Config};

/// What the README names as the rights that a node needs; `{prefix}` is `cluster.prefix`.
const RIGHTS: &str = "-@all +ping +publish +subscribe +unsubscribe +multi +exec +hset +hgetall +hdel +pexpire +sadd \
                      +srem +srandmember +evalsha +script|load +time +get +set";

/// A Redis that speaks TLS with this certificate, and where nodes find it so.
pub async fn speaks_tls(files: &Files) -> (RedisServer, String) {
    let port = free_address().port().to_string();
    let tls = ["--tls-port", &port, "--tls-auth-clients", "no"];
    let named = ["--tls-cert-file", files.certificate.to_str().unwrap(), "--tls-key-file", files.key.to_str().unwrap()];
    let redis = RedisServer::start(&[&tls[..], &named[..]].concat()).await;
    (redis, format!("rediss://localhost:{port}"))
}

/// A Sentinel that watches a master by the name of "mymaster", and is impatient.
pub async fn sentinel(master: &RedisServer) -> RedisServer {
    let port = free_address().port();
    // It writes into its own settings, and finds its name for the file that it is given.
    let folder = master.folder.path().join("sentinel.conf");
    let settings = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {} 1\n\
         sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 2000\n",
        master.port
    );
    std::fs::write(&folder, settings).unwrap();
    RedisServer::with(port, vec![folder.to_str().unwrap().to_owned(), "--sentinel".to_owned()]).await
}

/// Two nodes over Redis as it is set, where Ann and Bob talk, see each other, and are counted.
async fn people_talk(stage: &Stage, set: impl FnOnce(&mut Config)) -> (Fleet, Socket, Socket, ConversationId) {
    let fleet = Fleet::in_real_time_with(stage, 2, set).await;
    for at in 0..2 {
        is_linked(&fleet[at], "up").await;
    }
    let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
    let bob = bob.at(&fleet[1]);
    let (anns, bobs) = (ann.connects().await, bob.connects().await);
    let pair = ann.meets(&bob).await;
    bobs.hears("conversation.added").await;
    anns.says_in(pair, "hello").await;
    bobs.hears_of("hello").await;
    is_shown(&ann, &bob, "online").await;
    is_shown(&bob, &ann, "online").await;
    (fleet, anns, bobs, pair)
}

async fn says_and_hears(anns: &Socket, bobs: &Socket, pair: ConversationId, text: &str) {
    anns.says_in(pair, text).await;
    bobs.hears_of(text).await;
}

fn secret<T: serde::de::DeserializeOwned>(text: &str) -> T {
    serde_json::from_value(text.into()).unwrap()
}

#[actix_web::test]
async fn over_tls() {
    if !has_redis_server() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = Pair::new().is_put(folder.path());
    let (redis, url) = speaks_tls(&files).await;
    let Some(stage) = Stage::over(&redis).await else { return };
    let story = |stage: Stage| async move {
        let set = |config: &mut Config| {
            config.cluster.url = secret(&url);
            config.cluster.ca = files.certificate;
        };
        people_talk(&stage, set).await;
    };
    stage.play(story).await;
}

#[actix_web::test]
async fn with_the_rights_that_are_needed_and_no_others() {
    if !has_redis_server() {
        return;
    }
    let redis = RedisServer::start(&[]).await;
    let Some(stage) = Stage::over(&redis).await else { return };
    let prefix = stage.config().cluster.prefix;
    let (keys, channels) = (format!("~{prefix}*"), format!("&{prefix}*"));
    let user = ["ACL", "SETUSER", "node", "on", ">sesame", "resetkeys", &keys, "resetchannels", &channels];
    redis.asked(&[&user[..], &RIGHTS.split(' ').collect::<Vec<_>>()[..]].concat());
    let url = format!("redis://node:sesame@127.0.0.1:{}", redis.port);
    let story =
        |stage: Stage| async move { drop(people_talk(&stage, |config| config.cluster.url = secret(&url)).await) };
    stage.play(story).await;
    let log = redis.asked(&["ACL", "LOG"]);
    let lines: Vec<&str> = log.lines().collect();
    let refused: Vec<&[&str]> = lines.windows(2).filter(|two| two[0] == "object").collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[actix_web::test]
async fn behind_sentinels_that_choose_another_master() {
    if !has_redis_server() {
        return;
    }
    let master = RedisServer::start(&[]).await;
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await;
    let role = async |redis: &RedisServer, word: &str| redis.asked(&["INFO", "replication"]).contains(word);
    until("the replica to follow", async || role(&replica, "master_link_status:up").await).await;
    let sentinel = sentinel(&master).await;
    until("the Sentinel to know the replica", async || {
        sentinel.asked(&["SENTINEL", "REPLICAS", "mymaster"]).contains(&replica.port.to_string())
    })
    .await;
    let Some(stage) = Stage::over(&sentinel).await else { return };
    let story = |stage: Stage| async move {
        let set = |config: &mut Config| config.cluster.kind = ClusterKind::Sentinel;
        let (fleet, anns, bobs, pair) = people_talk(&stage, set).await;
        master.dies();
        says_and_hears(&anns, &bobs, pair, "masterless").await;
        until("another master", async || role(&replica, "role:master").await).await;
        for at in 0..2 {
            is_linked(&fleet[at], "up").await;
        }
        let published = replica.publishes();
        until("a hint by the other master", async || {
            says_and_hears(&anns, &bobs, pair, "by another master").await;
            replica.publishes() > published
        })
        .await;
    };
    stage.play(story).await;
}

/// Three masters, each with a third of the slots.
async fn three_masters() -> Vec<RedisServer> {
    let mut masters = Vec::new();
    for _ in 0..3 {
        let bus = free_address().port().to_string();
        let own = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
        masters.push(RedisServer::start(&own).await);
    }
    for (at, (first, last)) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].into_iter().enumerate() {
        masters[at].asked(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        let bus = masters[at].asked(&["CONFIG", "GET", "cluster-port"]);
        let (port, bus) = (masters[at].port.to_string(), bus.lines().nth(1).unwrap().to_owned());
        if at > 0 {
            masters[0].asked(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
    }
    for master in &masters {
        let whole = |info: String| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3");
        until("the Redis Cluster to be whole", async || whole(master.asked(&["CLUSTER", "INFO"]))).await;
    }
    masters
}

#[actix_web::test]
async fn over_a_redis_cluster_whose_shards_fail_and_move() {
    if !has_redis_server() {
        return;
    }
    let masters = three_masters().await;
    let Some(stage) = Stage::over(&masters[1]).await else { return };
    let story = |stage: Stage| async move {
        let set = |config: &mut Config| config.cluster.kind = ClusterKind::Cluster;
        let (fleet, anns, bobs, pair) = people_talk(&stage, set).await;
        let channels = || -> usize {
            masters.iter().map(|one| one.asked(&["PUBSUB", "SHARDCHANNELS"]).split_whitespace().count()).sum()
        };
        until("the channels to be listened to", async || channels() > 3).await;

        // The conversation's slot moves to another master: who listened there is told, and listens anew.
        let channel = super::channel(&stage, pair);
        let slot = masters[0].asked(&["CLUSTER", "KEYSLOT", &channel]).trim().to_owned();
        let listens = |one: &RedisServer| one.asked(&["PUBSUB", "SHARDNUMSUB", &channel]).trim().ends_with('2');
        let mut from = 0;
        until("both nodes to listen where the slot is", async || {
            let found = masters.iter().position(listens);
            found.map(|at| from = at).is_some()
        })
        .await;
        let to = &masters[(from + 1) % 3];
        let id = to.asked(&["CLUSTER", "MYID"]).trim().to_owned();
        for one in [to].into_iter().chain(&masters) {
            one.asked(&["CLUSTER", "SETSLOT", &slot, "NODE", &id]);
        }
        says_and_hears(&anns, &bobs, pair, "moved").await;
        until("both nodes to listen there", async || listens(to)).await;
        says_and_hears(&anns, &bobs, pair, "settled").await;

        // One shard fails, and is back.
        let lost = &masters[(from + 2) % 3];
        lost.dies();
        for at in 0..2 {
            is_linked(&fleet[at], "degraded").await;
        }
        says_and_hears(&anns, &bobs, pair, "torn").await;
        lost.again().await;
        for at in 0..2 {
            is_linked(&fleet[at], "up").await;
        }
        says_and_hears(&anns, &bobs, pair, "whole").await;
    };
    stage.play(story).await;
}
