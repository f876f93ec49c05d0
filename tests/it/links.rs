//! The link between the nodes as it fails: Redis away, killed, paused, forgetful, or talking nonsense. People go on.

mod claims;
mod modes;
mod refusals;

use crate::support::redis::has_redis_server;
use crate::support::*;
use actix_web::http::Method;
use quckchat::config::Config;
use std::time::Instant;

/// What no hiccup of Redis may hold up longer.
const SOON: Duration = secs(3);

/// A stage with a Redis of its own, where there is one, and PostgreSQL.
async fn stage_of_its_own() -> Option<(Stage, RedisServer)> {
    if !has_redis_server() {
        return None;
    }
    let redis = RedisServer::start(&[]).await;
    Some((Stage::over(&redis).await?, redis))
}

/// Tells a story of a Redis that is the story's own.
macro_rules! link_stories {
    ($($(#[$about:meta])* async fn $name:ident($stage:ident: Stage, $redis:ident: &RedisServer) $story:block)+) => {$(
        $(#[$about])*
        #[actix_web::test]
        async fn $name() {
            async fn story($stage: Stage, $redis: &RedisServer) $story
            if let Some((stage, redis)) = stage_of_its_own().await {
                stage.play(|stage| story(stage, &redis)).await;
            }
        }
    )+};
}

fn with_operations(config: &mut Config) {
    config.operations.listen = Some(([127, 0, 0, 1], 0).into());
}

/// No sweep passes while a story is told: what is heard came by Redis, or because the node knows that it hears nothing.
fn sweeps_seldom(config: &mut Config) {
    config.rooms.sweep = secs(600);
}

/// Awaits that a node's link is so, as it says itself: "up" or "degraded".
pub async fn is_linked(node: &Node, status: &str) {
    until(&format!("a node to be {status}"), async || node.gets("/api/v1/health").await.json()["status"] == *status)
        .await;
}

async fn is_ready(node: &Node) -> bool {
    node.gets("/ready").await.status == 200
}

/// Awaits that somebody is shown so to somebody.
async fn is_shown(to: &Person, whom: &Person, status: &str) {
    let asked = json!({ "userIds": [whom.id] });
    let shown = async || to.calls("presence.get", asked.clone()).await.ok()["items"][0]["status"] == *status;
    until(&format!("{} to be {status}", whom.name), shown).await;
}

/// The channel of a conversation.
fn channel(stage: &Stage, conversation: ConversationId) -> String {
    format!("{}c:{}", stage.config().cluster.prefix, conversation.to_string().replace('-', ""))
}

link_stories! {
    async fn nodes_that_do_not_hear_each_other_say_so(stage: Stage, _redis: &RedisServer) {
        let short = |config: &mut Config| config.cluster.lease = secs(2);
        let joined = Node::in_real_time(&stage, short).await;
        is_linked(&joined, "up").await;
        let other = |config: &mut Config| {
            short(config);
            config.cluster.prefix.push_str("other:");
        };
        let other = Node::in_real_time(&stage, other).await;
        for node in [&joined, &other] {
            until("a node to be degraded, and to say why", async || {
                let health = node.gets("/api/v1/health").await.json();
                let why = health["services"]["gateway"]["detail"].as_str().unwrap_or_default();
                health["status"] == "degraded" && why.contains("cluster.url") && why.contains("cluster.prefix")
            })
            .await;
            assert!(is_ready(node).await);
        }
        other.stop().await;
        is_linked(&joined, "up").await;
    }

    async fn what_a_last_node_could_not_clear_away_the_next_one_does(stage: Stage, redis: &RedisServer) {
        let short = |config: &mut Config| {
            config.cluster.lease = secs(2);
            config.presence.grace = secs(1);
        };
        let first = Node::in_real_time(&stage, short).await;
        let [ann, bob] = first.people(["ann", "bob"]).await;
        ann.meets(&bob).await;
        let _bobs = bob.connects().await;
        is_shown(&ann, &bob, "online").await;
        redis.pauses();
        is_linked(&first, "degraded").await;
        first.stop().await;
        redis.goes_on();
        let next = Node::in_real_time(&stage, short).await;
        let ann = ann.at(&next);
        is_shown(&ann, &bob, "offline").await;
        let asked = json!({ "userIds": [bob.id] });
        let is_told = async || ann.calls("presence.get", asked.clone()).await.ok()["items"][0]["lastSeenAt"].is_string();
        until("when bob was seen last to be known", is_told).await;
    }

    async fn a_node_without_redis_comes_up_and_waits(stage: Stage, redis: &RedisServer) {
        redis.dies();
        let node = Node::in_real_time(&stage, with_operations).await;
        for door in [node.gets("/ready").await, node.operators("/ready").await] {
            assert_eq!(door.status, 503);
            assert!(door.json()["detail"].as_str().unwrap().contains("cluster.url"));
        }
        let health = node.operators("/health").await.json();
        assert_eq!((&health["status"], &health["cluster"]["status"]), (&json!("down"), &json!("down")));
        let redis_is = format!("Redis at 127.0.0.1:{}", redis.port);
        assert_eq!(health["cluster"]["by"], redis_is);
        until("the node to know why", async || {
            let why = node.operators("/health").await.json()["cluster"]["detail"].to_string();
            why.contains(&format!("{redis_is} is away: ")) && why.contains("refused")
        })
        .await;
        let metrics = node.operators("/metrics").await.body;
        let metrics = String::from_utf8(metrics).unwrap();
        assert!(metrics.contains("quckchat_cluster_up 0") && metrics.contains("quckchat_ready 0"), "{metrics}");
        assert_eq!(node.gets("/live").await.status, 404);
        redis.again().await;
        until("the node to be ready", async || is_ready(&node).await).await;
        is_linked(&node, "up").await;
    }

    async fn people_go_on_while_redis_is_dead(stage: Stage, redis: &RedisServer) {
        let set = |config: &mut Config| {
            with_operations(config);
            sweeps_seldom(config);
        };
        let fleet = Fleet::in_real_time_with(&stage, 2, set).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let bob = bob.at(&fleet[1]);
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        let mut replica = Replica::afresh(&bob, pair).await;
        anns.says_in(pair, "before").await;
        bobs.hears_said("before").await;
        is_shown(&ann, &bob, "online").await;

        redis.dies();
        for at in 0..2 {
            is_linked(&fleet[at], "degraded").await;
            let health = fleet[at].operators("/health").await.json();
            assert_eq!(health["services"]["gateway"]["status"], "degraded");
            assert!(health["cluster"]["detail"].as_str().unwrap().contains("every second"));
            assert!(is_ready(&fleet[at]).await);
        }
        let mut took = Vec::new();
        for text in ["dead", "long dead", "very long dead"] {
            let said = Instant::now();
            anns.says_in(pair, text).await;
            bobs.hears_of(text).await;
            took.push(said.elapsed());
        }
        // None came by the sweep; and what is looked for every second does not always come late.
        assert!(took.iter().any(|took| *took < SOON), "{took:?}");
        redis.again().await;
        for at in 0..2 {
            is_linked(&fleet[at], "up").await;
        }
        anns.says_in(pair, "after").await;
        bobs.hears_of("after").await;
        replica.hears(&bobs.heard());
        assert_eq!(replica, Replica::afresh(&ann, pair).await);
        is_shown(&ann, &bob, "online").await;
    }

    async fn nobody_waits_long_for_a_redis_that_is_paused(stage: Stage, redis: &RedisServer) {
        let set = |config: &mut Config| {
            config.presence.grace = millis(50);
            sweeps_seldom(config);
        };
        let fleet = Fleet::in_real_time_with(&stage, 2, set).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let (bob, cid) = (bob.at(&fleet[1]), cid.at(&fleet[1]));
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let (anns, bobs, cids) = (ann.connects().await, bob.connects().await, cid.connects().await);
        is_shown(&ann, &cid, "online").await;

        // Whoever waited for Redis would do so each time; the machine may be slow at one time or another.
        let (mut text, mut another) = (String::new(), None);
        until("nobody to wait for it", async || {
            text.push('!');
            redis.goes_on();
            for at in 0..2 {
                is_linked(&fleet[at], "up").await;
            }
            redis.pauses();
            let paused = Instant::now();
            anns.says_in(group, &text).await;
            let said = paused.elapsed();
            let (_, socket) = tokio::join!(async { ann.opens_list().await.ok() }, bob.connects());
            another = Some(socket);
            said < millis(700) && paused.elapsed() < SOON
        })
        .await;
        bobs.hears_of(&text).await;
        is_linked(&fleet[1], "degraded").await;
        cids.hangs_up().await;
        redis.goes_on();
        for at in 0..2 {
            is_linked(&fleet[at], "up").await;
        }
        anns.says_in(group, "back").await;
        bobs.hears_of("back").await;
        another.unwrap().hears_of("back").await;
        // Whoever went meanwhile is no ghost.
        is_shown(&ann, &cid, "offline").await;
        is_shown(&ann, &bob, "online").await;
    }

    async fn either_connection_may_break(stage: Stage, redis: &RedisServer) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let bob = bob.at(&fleet[1]);
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        for kind in ["normal", "pubsub", "normal"] {
            assert_ne!(redis.asked(&["CLIENT", "KILL", "TYPE", kind]).trim(), "0", "{kind}");
            // The hint is lost, or is not: the others are told that it may be.
            anns.says_in(pair, kind).await;
            bobs.hears_of(kind).await;
            for at in 0..2 {
                is_linked(&fleet[at], "up").await;
            }
        }
    }

    async fn nonsense_on_a_channel_harms_nothing(stage: Stage, redis: &RedisServer) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let bob = bob.at(&fleet[1]);
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        let nodes = format!("{}nodes", stage.config().cluster.prefix);
        for nonsense in ["", "\u{1}", "nonsense", "\u{1}12345678\u{7f}\u{7f}\u{7f}\u{7f}", &"x".repeat(100_000)] {
            for channel in [&channel(&stage, pair), &nodes] {
                let told = async || redis.asked(&["PUBLISH", channel, nonsense]).trim() == "2";
                until(&format!("both nodes to hear nonsense on {channel}"), told).await;
            }
            anns.says_in(pair, nonsense.get(..4).unwrap_or("little")).await;
        }
        anns.says_in(pair, "sense").await;
        bobs.hears_of("sense").await;
        let revs: Vec<i64> = bobs.heard_of(pair).iter().filter_map(|frame| frame["rev"].as_i64()).collect();
        assert!(revs.is_sorted_by(|one, other| one < other), "{revs:?}");
    }

    async fn a_message_is_published_once_however_many_are_members(stage: Stage, redis: &RedisServer) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let mut members = Vec::new();
        for at in 0..50 {
            let [member] = fleet[0].people([&format!("member {at}")[..]]).await;
            members.push(member.at(&fleet[at % 2]));
        }
        let group = members[0].creates_group("many", &members[1..].iter().collect::<Vec<_>>()).await;
        let mut sockets = Vec::new();
        for member in &members {
            sockets.push(member.connects().await);
        }
        // That they are there is published too.
        let ids: Vec<UserId> = members.iter().map(|member| member.id).collect();
        until("everybody to be there", async || {
            let there = sockets[0].calls("presence.get", json!({ "userIds": ids })).await.ok();
            there["items"].as_array().unwrap().iter().filter(|one| one["status"] == "online").count() == members.len()
        })
        .await;
        sockets[0].says_in(group, "here we are").await;
        for socket in &sockets {
            socket.hears_of("here we are").await;
        }
        // A Redis that was slow for once may have been taken for one that is away.
        let mut words = 0;
        until("ten messages to be published ten times", async || {
            let (before, connections) = (redis.publishes(), redis.connections());
            for socket in sockets.iter().take(10) {
                words += 1;
                socket.says_in(group, &format!("word {words}")).await;
            }
            for socket in &sockets {
                socket.hears_of(&format!("word {words}")).await;
            }
            let published = redis.publishes() - before;
            // A new link says more.
            assert!(published <= 10 || redis.connections() != connections, "{published}");
            published == 10
        })
        .await;
    }

    async fn limits_hold_over_all_nodes(stage: Stage, redis: &RedisServer) {
        let limit = |config: &mut Config| {
            (config.limits.rest_per_user_per_sec, config.limits.rest_per_user_burst) = (1, 20);
        };
        let fleet = Fleet::in_real_time_with(&stage, 3, limit).await;
        let spend = async |person: &Person| {
            for spent in 0..100 {
                if let Err(problem) = person.opens_list().await.result {
                    assert_eq!(problem["code"], ErrorCode::RequestRateLimited.as_str());
                    return spent;
                }
            }
            100
        };
        // What passes meanwhile gives more, and so does a Redis that is slow to count, but not each time. If each node
        // counted by itself, everybody would have twice as much.
        until("a count that all nodes have in common", async || {
            let [ann] = fleet[2].people(["ann"]).await;
            let began = Instant::now();
            let (here, there) = (spend(&ann.at(&fleet[0])).await, spend(&ann.at(&fleet[1])).await);
            here >= 18 && here + there <= 21 + began.elapsed().as_secs()
        })
        .await;
        // Nodes that never counted him before: he came by another.
        let [bob] = fleet[2].people(["bob"]).await;
        redis.dies();
        for at in 0..2 {
            is_linked(&fleet[at], "degraded").await;
            let began = Instant::now();
            let spent = spend(&bob.at(&fleet[at])).await;
            let most = 11 + began.elapsed().as_secs();
            assert!((10..=most).contains(&spent), "half of it at node {at}: {spent} of {most}");
        }
    }

    async fn a_count_is_the_same_with_redis_and_without(stage: Stage, _redis: &RedisServer) {
        let limit = |config: &mut Config| {
            (config.limits.rest_per_user_per_sec, config.limits.rest_per_user_burst) = (1, 5);
        };
        let alone = Stage::on_sqlite().await;
        let (joined, single) = (Node::in_real_time(&stage, limit).await, Node::in_real_time(&alone, limit).await);
        // Somebody whom nobody has counted yet, who asks once more than they may at once.
        let is_counted = async |node: &Node| {
            let [person] = node.people(["somebody"]).await;
            let mut replies = Vec::new();
            for _ in 0..6 {
                let bearer = [("authorization", format!("Bearer {}", person.access_token()))];
                let reply = node.requests(Method::GET, "/api/v1/conversations", &bearer, "").await;
                let names = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "retry-after"];
                let values = names.map(|name| reply.header(name).map(str::to_owned));
                replies.push((reply.status.as_u16(), values));
            }
            replies
        };
        // It is told in seconds, of which one may pass meanwhile; and a Redis that was slow once has not counted.
        until("both to count alike", async || {
            let (with, without) = (is_counted(&joined).await, is_counted(&single).await);
            with == without && with[5].0 == 429
        })
        .await;
        alone.clear().await;
    }

    async fn a_session_that_ends_at_one_node_ends_at_the_other(stage: Stage, redis: &RedisServer) {
        let fleet = Fleet::in_real_time_with(&stage, 2, sweeps_seldom).await;
        until("it to be told by Redis", async || {
            let [ann] = fleet[0].people(["ann"]).await;
            let socket = ann.at(&fleet[1]).connects().await;
            let (told, ended) = (redis.publishes(), Instant::now());
            ann.signs_out().await.ok();
            socket.is_closed().await;
            redis.publishes() > told && ended.elapsed() < secs(1)
        })
        .await;
    }

    async fn a_node_that_has_stopped_listens_no_more(stage: Stage, redis: &RedisServer) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let listeners = || redis.asked(&["PUBSUB", "NUMSUB", &format!("{}nodes", stage.config().cluster.prefix)]);
        until("both nodes to listen", async || listeners().trim().ends_with('2')).await;
        fleet[1].stop().await;
        until("the node to be gone", async || listeners().trim().ends_with('1')).await;
    }
}
