//! Databases that are restarted, paused, full, read-only or behind: what people notice of it, and operators are told.

use crate::support::process::runs;
use crate::support::server::{PASSWORD, Server};
use crate::support::speech::Request;
use crate::support::*;
use entities::{Db, Options};
use quckchat::config::Config;
use sea_orm::ConnectionTrait;

/// What is wrong with a service, as everybody may know.
async fn complaint(node: &Node, service: &str) -> String {
    let health = node.gets("/api/v1/health").await.json();
    health["services"][service]["detail"].as_str().unwrap_or_default().to_owned()
}

/// Says it until it is said.
async fn says_at_last(speaker: &impl Speaks, to: ConversationId, text: &str) -> Value {
    let mut said = Value::Null;
    until("it to be said", async || match speaker.sends_as(to, text, text).await.result {
        Ok(sent) => {
            said = sent["message"].clone();
            true
        }
        Err(error) => {
            assert_eq!(error["retryable"], true, "{error}");
            false
        }
    })
    .await;
    said
}

#[actix_web::test]
async fn connections_that_were_cut_are_noticed_by_nobody() {
    if let Some(stage) = Stage::on_postgres().await {
        stage.play(the_connections_are_cut).await;
    }
}

async fn the_connections_are_cut(stage: Stage) {
    let node = Node::in_real_time(&stage, |_| ()).await;
    let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
    let pair = ann.meets(&bob).await;
    let anns = ann.connects().await;
    for round in 0..3 {
        // As many connections as there can be, all of them idle and soon dead.
        futures_util::future::join_all((0..30).map(|_| ann.history(pair))).await;
        stage.cuts_connections().await;
        anns.says_in(pair, &format!("said {round}")).await;
        stage.cuts_connections().await;
        ann.history(pair).await.ok();
        stage.cuts_connections().await;
        cid.creates("group", &[&ann, &bob]).await.ok();
        stage.cuts_connections().await;
        node.people(["dan"]).await;
    }
}

#[actix_web::test]
async fn a_server_that_is_restarted_or_paused_is_waited_for() {
    let Some(server) = Server::start(&[]).await else { return };
    server.runs("postgres", &["CREATE DATABASE story"]).await;
    let story = async |stage: Stage| {
        let node = Node::in_real_time(&stage, |config| config.database.acquire_timeout = secs(15)).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        anns.says_in(pair, "before").await;
        server.goes_down();
        let (said, ()) = tokio::join!(anns.says_in(pair, "meanwhile"), server.goes_up());
        assert_eq!(said["seq"], 2);
        bobs.hears_said("meanwhile").await;

        server.pauses(true);
        let saying =
            anns.begins("messages.send", json!({ "conversationId": pair, "text": "slow", "clientId": "slow" }));
        let saying = saying.await;
        until("health to say so", async || complaint(&node, "messages").await == "the database does not answer").await;
        assert_eq!(node.gets("/ready").await.status, 503);
        server.pauses(false);
        assert_eq!(anns.reply_if_any(&saying).await.unwrap().ok()["message"]["seq"], 3);
        until("health to be well", async || complaint(&node, "messages").await.is_empty()).await;
    };
    Stage::at(&server.url("story")).play(story).await;
}

#[actix_web::test]
async fn a_server_without_connections_left_is_named() {
    const ALL: usize = 30;
    let Some(server) = Server::start(&[&format!("max_connections={ALL}")]).await else { return };
    server.runs("postgres", &["CREATE DATABASE story"]).await;
    let story = async |stage: Stage| {
        let node = Node::in_real_time(&stage, |_| ()).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let anns = ann.connects().await;
        let options = Options {
            max_connections: 40,
            idle_in_transaction_timeout: secs(600),
            ..Options::new(format!("{}?application_name=guest", server.url("postgres")))
        };
        let guest = Db::open(&options).await.unwrap();
        let mut taken = vec![guest.begin_write().await.unwrap()];
        // A transaction sees who is connected as it was when it first looked, unless it says that it looks again.
        let others = "SELECT pg_stat_clear_snapshot();
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'quckchat %'";
        until("the guest to have every connection", async || {
            taken[0].execute_unprepared(others).await.unwrap();
            taken.extend(guest.begin_write().await);
            // The last one is that by which it looks how the server is.
            taken.len() == ALL - 1
        })
        .await;
        // At once: each of them waits for a connection as long as it may.
        let refusals = [Door::Rest(ann.clone()), Door::Socket(anns.clone())].map(|door| async move {
            let (sent, read) = tokio::join!(door.sends_as(pair, "key", "key"), door.history(pair));
            sent.is_refused(ErrorCode::ServerUnavailable);
            read.is_refused(ErrorCode::ServerUnavailable);
        });
        futures_util::future::join_all(refusals).await;
        until("health to say so", async || {
            complaint(&node, "messages").await == "the database takes no more connections"
        })
        .await;
        assert_eq!(node.gets("/api/v1/health/live").await.status, 200);
        drop(taken);
        guest.close().await.unwrap();
        assert_eq!(says_at_last(&anns, pair, "key").await["seq"], 1);
        until("health to be well or to remember", async || {
            ["", "no connection to the database was free"].contains(&complaint(&node, "messages").await.as_str())
        })
        .await;
    };
    Stage::at(&server.url("story")).play(story).await;
}

#[actix_web::test]
async fn a_database_that_only_reads_is_told_and_waited_for() {
    if let Some(stage) = Stage::on_postgres().await {
        stage.play(the_database_only_reads).await;
    }
}

async fn the_database_only_reads(stage: Stage) {
    let node = Node::in_real_time(&stage, |_| ()).await;
    let [ann, bob] = node.people(["ann", "bob"]).await;
    let pair = ann.meets(&bob).await;
    let (anns, bobs) = (ann.connects().await, bob.connects().await);
    let before = anns.says_in(pair, "before").await;
    stage.reads_only(true).await;
    for door in [Door::Rest(ann.clone()), Door::Socket(anns.clone())] {
        door.sends_as(pair, "meanwhile", "meanwhile").await.is_refused(ErrorCode::ServerUnavailable);
        assert_eq!(door.history(pair).await.ok()["items"][0]["id"], before["id"]);
    }
    assert_eq!(complaint(&node, "messages").await, "the database is read-only");
    assert_eq!(node.gets("/ready").await.status, 200);
    // Sessions that began meanwhile stay as they are: the node must find out by itself.
    stage.reads_only(false).await;
    until("the node to write again", async || anns.sends_as(pair, "meanwhile", "meanwhile").await.result.is_ok()).await;
    bobs.hears_said("meanwhile").await;
    for at in 0..20 {
        ann.sends_as(pair, "and then", &format!("then {at}")).await.ok();
    }
    until("health to be well", async || complaint(&node, "messages").await.is_empty()).await;
}

#[actix_web::test]
async fn a_full_disk_refuses_sends_until_there_is_room() {
    Stage::on_sqlite().await.play(the_disk_is_full).await;
}

async fn the_disk_is_full(stage: Stage) {
    // What can be deleted later: a table of somebody else's in the same file.
    let ballast = Db::open(&Options::new(stage.database_url())).await.unwrap();
    ballast.write().execute_unprepared("CREATE TABLE ballast AS SELECT zeroblob(1500000) AS weight").await.unwrap();
    let node = Node::in_real_time(&stage, |config| config.database.max_bytes = 2 << 20).await;
    let [ann, bob] = node.people(["ann", "bob"]).await;
    let pair = ann.meets(&bob).await;
    let (anns, bobs) = (ann.connects().await, bob.connects().await);
    let text = "x".repeat(8000);
    let mut said = 0;
    let refused = loop {
        let answer = anns.sends_as(pair, &text, &format!("key {}", said + 1)).await;
        match answer.result {
            Ok(sent) => {
                said += 1;
                assert_eq!(sent["message"]["seq"], said);
            }
            Err(error) => break error,
        }
    };
    assert!(said > 5, "{said}");
    assert_eq!((&refused["code"], &refused["retryable"]), (&json!("server.unavailable"), &json!(true)));
    // It stays so, for everybody, and what was said can be read.
    for door in [Door::Rest(bob.clone()), Door::Socket(bobs.clone())] {
        door.sends_as(pair, &text, "no room").await.is_refused(ErrorCode::ServerUnavailable);
        assert_eq!(door.history(pair).await.ok()["lastSeq"], said);
    }
    // Writes of other kinds end in other ways: SQLite rolls some back by itself.
    let mut asked = 0;
    let asks = async || {
        let request = Request::of("auth.sendOtp", json!({ "phoneNumber": stage.phone_number() }));
        node.asks(None, request).await.result.is_ok()
    };
    while asks().await {
        asked += 1;
        assert!(asked < 500, "{asked}");
    }
    assert_eq!(complaint(&node, "messages").await, "the database has no room left on its disk");
    assert_eq!(node.gets("/ready").await.status, 200);

    ballast.write().execute_unprepared("DROP TABLE ballast").await.unwrap();
    let sent = anns.sends_as(pair, &text, &format!("key {}", said + 1)).await.ok();
    assert_eq!((&sent["message"]["seq"], &sent["duplicate"]), (&json!(said + 1), &json!(false)));
    bobs.takes("what was refused before", |frame| frame["seq"] == said + 1 && frame["event"] == "message.created")
        .await;
    until("health to be well", async || complaint(&node, "messages").await.is_empty()).await;
    let truth = Replica::afresh(&ann, pair).await;
    assert_eq!(truth.of(pair).messages().len() as i64, said + 1);
    ballast.close().await.unwrap();
}

/// Reads until a page has come from a replica; gives it.
async fn reads_a_page_from_a_replica(reader: &Person, conversation: ConversationId) -> Value {
    let mut page = Value::Null;
    until("a page from the replica", async || {
        let before = reader.node.counts("quckchat_replica_pages_total").await;
        page = reader.history(conversation).await.ok();
        reader.node.counts("quckchat_replica_pages_total").await > before
    })
    .await;
    page
}

#[actix_web::test]
async fn history_comes_from_a_replica_that_is_as_far() {
    let Some(server) = Server::start(&[]).await else { return };
    server.runs("postgres", &["CREATE DATABASE story"]).await;
    let replica = server.replica().await;
    // The standby is no database for a node, and says what it is good for.
    let stage = Stage::at(&replica.url("story"));
    let ended = runs(&stage, &["serve"], &[]).await;
    refuses(&ended, &["database.url", "standby", "database.replicas"]);

    let story = async |stage: Stage| {
        let urls = [replica.url("story")];
        let node = async |lag: Duration| {
            let set = |config: &mut Config| {
                config.database.replicas = serde_json::from_value(json!(urls)).unwrap();
                config.database.replica_lag = lag;
                config.operations.listen = Some(([127, 0, 0, 1], 0).into());
            };
            Node::in_real_time(&stage, set).await
        };
        // To one of them nothing that happens here is long ago, so it reads on from a replica that stands still.
        let (node, strict) = (node(secs(600)).await, node(secs(1)).await);
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        ann.says_in(pair, "as it was said").await;
        let strictly = ann.at(&strict);
        for ann in [&ann, &strictly] {
            reads_a_page_from_a_replica(ann, pair).await;
            until("health to be well", async || complaint(&ann.node, "messages").await.is_empty()).await;
        }

        // What a client cannot do: a text changes, and no counter with it. So it shows where a page comes from.
        replica.says("story", "SELECT pg_wal_replay_pause()::text").await;
        let paused = "SELECT pg_get_wal_replay_pause_state()";
        until("the replay to stand still", async || replica.says("story", paused).await == "paused").await;
        let renames = "UPDATE users SET display_name = 'Bob as he is here' WHERE name_key = 'bob'";
        let finds = "UPDATE users SET name_key = 'bob too' WHERE name_key = 'ann'";
        server.runs("story", &["UPDATE messages SET text = 'as it is here', changed = true", renames, finds]).await;
        // One that answered too late a moment ago is asked again soon.
        until("the page of the replica", async || ann.history(pair).await.ok()["items"][0]["text"] == "as it was said")
            .await;
        // A replica tells who is called so; how they are shown never comes from there.
        let found = async |ann: &Person| {
            let page = ann.calls("users.search", json!({ "q": "bob" })).await.ok();
            page["items"].as_array().unwrap().iter().map(|item| item["displayName"].clone()).collect::<Vec<_>>()
        };
        until("Bob alone, as the replica knows", async || found(&ann).await == ["Bob as he is here"]).await;
        let changes = ann.calls("messages.changes", json!({ "conversationId": pair, "afterRev": 0 })).await.ok();
        let texts: Vec<&Value> = changes["items"].as_array().unwrap().iter().map(|item| &item["text"]).collect();
        assert!(texts.contains(&&json!("as it is here")), "{changes}");

        // A conversation that moved is not read where it has not moved yet, nor by whom it is not for any more.
        let group = ann.creates_group("tea", &[&bob]).await;
        ann.says_in(group, "not there yet").await;
        assert_eq!(ann.history(group).await.ok()["lastSeq"], 1);
        ann.says_in(pair, "a second").await;
        let history = ann.history(pair).await.ok();
        assert_eq!((&history["lastSeq"], &history["items"][0]["text"]), (&json!(2), &json!("as it is here")));
        ann.calls("conversations.removeParticipant", json!({ "conversationId": group, "userId": bob.id })).await.ok();
        bob.history(group).await.is_refused(ErrorCode::ConversationNotFound);
        until("health to say that it is behind", async || {
            complaint(&strict, "messages").await == "a replica of the database is away or behind"
        })
        .await;
        assert_eq!(strictly.history(pair).await.ok()["items"][0]["text"], "as it is here");
        until("both who are called so", async || found(&strictly).await == ["Bob as he is here", "ann"]).await;

        let far = server.says("story", "SELECT pg_current_wal_lsn()::text").await;
        replica.says("story", "SELECT pg_wal_replay_resume()::text").await;
        let is_as_far = format!("SELECT (pg_last_wal_replay_lsn() >= '{far}'::pg_lsn)::text");
        until("the replay to catch up", async || replica.says("story", &is_as_far).await == "true").await;
        until("health to be well", async || complaint(&strict, "messages").await.is_empty()).await;
        for ann in [&ann, &strictly] {
            assert_eq!(reads_a_page_from_a_replica(ann, pair).await["items"][0]["text"], "as it is here");
            assert_eq!(found(ann).await, ["Bob as he is here", "ann"]);
        }
        // One that is away is passed over, and nobody notices.
        replica.goes_down();
        ann.history(pair).await.ok();
        until("health to say that it is away", async || {
            complaint(&node, "messages").await == "a replica of the database is away or behind"
        })
        .await;
        replica.goes_up().await;
        until("health to be well", async || complaint(&node, "messages").await.is_empty()).await;
    };
    Stage::at(&server.url("story")).play(story).await;
}

fn refuses(ended: &crate::support::process::Ended, names: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{}{}", ended.out, ended.log);
    for name in names {
        assert!(ended.log.contains(name), "{name} in {}", ended.log);
    }
    assert!(!ended.log.contains("panicked") && !ended.log.contains(PASSWORD), "{}", ended.log);
}

#[actix_web::test]
async fn a_wrong_database_is_refused_with_what_to_do() {
    let Some(server) = Server::start(&[]).await else { return };
    server.runs("postgres", &["CREATE DATABASE story"]).await;
    let url = server.url("story");
    for (url, says) in [
        (url.replace(&format!(":{}/", server.port), ":1/"), "nothing listens at 127.0.0.1"),
        (url.replace("127.0.0.1", "no-such-host.invalid"), "cannot be reached"),
        (url.replace(PASSWORD, "another"), "correct user and password"),
        (server.url("nowhere"), "there is no database \"nowhere\""),
        (url.replace("/story", "/story?sslmode=bogus"), "it is no URL"),
    ] {
        for command in ["serve", "migrate"] {
            refuses(&runs(&Stage::at(&url), &[command], &[]).await, &["database.url", says]);
        }
    }
    // What speaks, but not as PostgreSQL.
    let stranger = Node::start(&Stage::on_sqlite().await).await;
    let url = url.replace(&format!(":{}/", server.port), &format!(":{}/", stranger.address.port()));
    refuses(&runs(&Stage::at(&url), &["serve"], &[]).await, &["database.url"]);
    stranger.stage.clear().await;
}

#[actix_web::test]
async fn ten_nodes_start_at_once_on_an_empty_database() {
    if let Some(stage) = Stage::on_postgres().await {
        stage
            .play(async |stage: Stage| {
                let starting = (0..10).map(|at| {
                    Node::in_real_time(&stage, move |config| {
                        config.gateway.workers = 1;
                        config.cluster.node = format!("node-{at}");
                    })
                });
                let nodes = futures_util::future::join_all(starting).await;
                let [ann, bob] = nodes[0].people(["ann", "bob"]).await;
                let pair = ann.meets(&bob).await;
                for node in &nodes {
                    ann.at(node).says_in(pair, "hello").await;
                }
                assert_eq!(bob.at(&nodes[9]).history(pair).await.ok()["lastSeq"], 10);
            })
            .await;
    }
}
