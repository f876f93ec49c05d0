//! The program itself: what it refuses at start, what it prints, and what it holds when it is killed.

use crate::support::answer::Answer;
use crate::support::process::{Process, runs};
use crate::support::speech::{fresh_key, id_of};
use crate::support::*;
use actix_web::rt;
use std::collections::BTreeMap;

/// Keeps saying things, several at once, until the connection ends; gives what was acknowledged, by key, and the keys
/// of what was not.
async fn talks_until_the_end(person: Person, to: ConversationId) -> (BTreeMap<String, Value>, Vec<String>) {
    let socket = person.connects().await;
    let (mut held, mut open) = (BTreeMap::new(), Vec::new());
    while socket.is_open() {
        let mut sending = Vec::new();
        for _ in 0..8 {
            let key = fresh_key();
            let data = json!({ "conversationId": to, "text": key, "clientId": key });
            sending.push((socket.begins("messages.send", data).await, key));
        }
        for (id, key) in sending {
            match acknowledged(socket.reply_if_any(&id).await) {
                Some(sent) => drop(held.insert(key, sent["message"].clone())),
                None => open.push(key),
            }
        }
        let Some(last) = held.values().next_back() else { continue };
        let (message, text): (MessageId, _) = (id_of(last), format!("{}, edited", last["clientId"].as_str().unwrap()));
        let editing = socket.begins("messages.edit", json!({ "messageId": message, "text": text })).await;
        if let Some(edited) = acknowledged(socket.reply_if_any(&editing).await) {
            held.insert(edited["clientId"].as_str().unwrap().to_owned(), edited);
        }
    }
    (held, open)
}

/// The reply, unless there was none, or the node asks to come again.
fn acknowledged(answer: Option<Answer>) -> Option<Value> {
    let answer = answer?;
    if let Err(error) = &answer.result {
        assert_eq!(error["retryable"], true, "{error}");
    }
    answer.result.ok()
}

stories! {
    async fn nothing_that_was_acknowledged_is_missing_after_a_kill(stage: Stage) {
        let process = Process::serves(&stage, &[]).await;
        let [ann, bob, cid] = process.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let mut node = process.node.clone();
        let mut process = Some(process);
        let mut replica = Replica::afresh(&cid, group).await;
        let mut held = BTreeMap::new();
        for round in 0..3 {
            let cids = cid.at(&node).connects_with(json!({ "known": replica.known() })).await;
            replica.catches_up(&cids, group).await;
            let talking = [&ann, &bob, &bob].map(|person| rt::spawn(talks_until_the_end(person.at(&node), group)));
            for _ in 0..60 {
                cids.hears("message.created").await;
            }
            process.take().unwrap().dies().await;
            let mut unanswered = Vec::new();
            for (talk, person) in talking.into_iter().zip([&ann, &bob, &bob]) {
                let (answered, open) = talk.await.unwrap();
                held.extend(answered);
                unanswered.extend(open.into_iter().map(|key| (person, key)));
            }
            replica.hears(&cids.heard());

            let again = Process::serves(&stage, &[]).await;
            node = again.node.clone();
            process = Some(again);
            let truth = Replica::afresh(&cid.at(&node), group).await;
            let rows: Vec<&Value> = truth.of(group).messages();
            let seqs: Vec<i64> = rows.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
            assert_eq!(seqs, (1..=seqs.len() as i64).collect::<Vec<i64>>(), "round {round}");
            let by_key: BTreeMap<&str, &Value> =
                rows.iter().map(|row| (row["clientId"].as_str().unwrap(), *row)).collect();
            assert_eq!(by_key.len(), rows.len(), "a key was used twice");
            for (key, message) in &held {
                let row = by_key.get(key.as_str()).unwrap_or_else(|| panic!("{key} was acknowledged and is missing"));
                assert_eq!((&row["id"], &row["seq"]), (&message["id"], &message["seq"]));
                assert!(row["rev"].as_i64() >= message["rev"].as_i64(), "{row} is older than {message}");
            }
            // Whatever was told had been written.
            for message in replica.of(group).messages() {
                let row = by_key[message["clientId"].as_str().unwrap()];
                assert_eq!((&row["id"], &row["seq"]), (&message["id"], &message["seq"]));
                assert!(row["rev"].as_i64() >= message["rev"].as_i64(), "{row} is older than {message}");
            }
            assert!(replica.of(group).rev <= truth.of(group).rev);
            // Whoever got no answer says it again, and it is there once.
            for (person, key) in unanswered {
                let sent = person.at(&node).sends_as(group, &key, &key).await.ok();
                let was_there = by_key.contains_key(key.as_str());
                assert_eq!(sent["duplicate"], was_there, "{key}");
                held.insert(key, sent["message"].clone());
            }
        }
        assert!(process.unwrap().stops().await.success());
    }

    async fn a_node_that_is_told_to_stop_says_goodbye(stage: Stage) {
        let process = Process::serves(&stage, &[]).await;
        assert!(process.greeting.contains(&format!("http://{}/api/v1", process.node.address)), "{}", process.greeting);
        let [ann, bob] = process.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let anns = ann.connects().await;
        let said = anns.says_in(pair, "goodbye").await;
        assert!(process.stops().await.success());
        assert!(anns.has_heard("drain"));
        assert_eq!(anns.is_closed().await, 4001);
        let again = Process::serves(&stage, &[]).await;
        assert_eq!(bob.at(&again.node).history(pair).await.ok()["items"], json!([said]));
    }

    async fn nothing_personal_is_logged(stage: Stage) {
        let process =
            Process::serves(&stage, &[("QUCKCHAT__LOG__FILTER", "trace"), ("QUCKCHAT__LOG__FORMAT", "json")]).await;
        let [ann, bob] = process.people(["ann", "bob"]).await;
        ann.calls("users.updateProfile", json!({ "userId": "me", "username": "unusual.name" })).await.ok();
        let pair = ann.meets(&bob).await;
        let anns = ann.connects().await;
        for door in [Door::Rest(ann.clone()), Door::Socket(anns.clone())] {
            let message: MessageId = id_of(&door.says_in(pair, "private words").await);
            door.edits(message, "other private words").await.ok();
            door.sends(pair, &"endless words".repeat(1000)).await.is_refused(ErrorCode::RequestInvalid);
            door.calls("users.search", json!({ "q": "unusual.n" })).await.ok();
        }
        let list = format!("quckchat.v1, bearer.{}", bob.access_token());
        Wire::open(&process.node, Dial::new().with("sec-websocket-protocol", list)).await.is_ready(json!({})).await;
        let tokens = [ann.access_token(), ann.refresh_token(), bob.access_token(), bob.refresh_token()];
        bob.refreshes().await;
        bob.refreshes().await;
        bob.spends(&tokens[3]).await.is_refused(ErrorCode::AuthRefreshReused);
        let number = "+4915112345678";
        process.node.says("auth.sendOtp", json!({ "phoneNumber": number })).await.ok();
        let log = process.stops_and_tells().await;
        assert!(log.contains("a refresh token was reused"), "{log}");
        // The development's own sender is there to print codes, and it alone.
        let (codes, log): (Vec<&str>, Vec<&str>) = log.lines().partition(|line| line.contains("quckchat::otp"));
        assert_eq!(codes.len(), 1);
        let log = log.join("\n");
        for private in ["private words", "endless words", "unusual.n", number, &number[1..]] {
            assert!(!log.contains(private), "{private}");
        }
        for token in tokens.iter().chain([&bob.access_token(), &bob.refresh_token()]) {
            assert!(!log.contains(token.rsplit('.').next().unwrap()), "a token");
        }
    }

    async fn a_busy_node_stops_in_order(stage: Stage) {
        let process = Process::serves(&stage, &[("QUCKCHAT__ROOMS__SWEEP", "100ms")]).await;
        let [ann, bob, cid] = process.people(["ann", "bob", "cid"]).await;
        let group = ann.creates_group("tea", &[&bob, &cid]).await;
        let cids = cid.connects().await;
        let talking = [&ann, &bob, &bob].map(|person| rt::spawn(talks_until_the_end(person.clone(), group)));
        for _ in 0..60 {
            cids.hears("message.created").await;
        }
        let log = process.stops_and_tells().await;
        assert!(!log.contains("panicked") && !log.contains("\"ERROR\""), "{log}");
        let again = Process::serves(&stage, &[]).await;
        let truth = Replica::afresh(&cid.at(&again.node), group).await;
        let texts = truth.of(group).messages();
        for talk in talking {
            let (answered, _) = talk.await.unwrap();
            for (key, message) in answered {
                assert!(texts.iter().any(|row| row["id"] == message["id"]), "{key} was acknowledged and is missing");
            }
        }
    }

    async fn two_processes_serve_one_database(stage: Stage) {
        let often = [("QUCKCHAT__ROOMS__SWEEP", "200ms")];
        let [here, there] = [Process::serves(&stage, &often).await, Process::serves(&stage, &often).await];
        let [ann, bob] = here.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let bobs = bob.at(&there.node).connects().await;
        ann.says_in(pair, "hello").await;
        // They do not hear each other; the sweep finds it.
        let told = bobs.takes("what was said elsewhere", |frame| frame.to_string().contains("hello")).await;
        assert_eq!(told["event"], "conversation.changes");
        bobs.says_in(pair, "hello to you").await;
        assert_eq!(Replica::afresh(&ann, pair).await.of(pair).texts(), [Some("hello"), Some("hello to you")]);
    }

    async fn two_nodes_of_one_name_do_not_serve(stage: Stage) {
        let name = [("QUCKCHAT__CLUSTER__NODE", "alpha"), ("QUCKCHAT__CLUSTER__LEASE", "9s")];
        let first = Process::serves(&stage, &name).await;
        let serve = ["--listen", "127.0.0.1:0", "serve"];
        let second = runs(&stage, &serve, &name).await;
        assert_eq!(second.status.code(), Some(1), "{}{}", second.out, second.log);
        for part in ["alpha", &first.node.address.to_string(), "cluster.node"] {
            assert!(second.log.contains(part), "{part} in {}", second.log);
        }
        // One that crashed comes back as soon as its lease has ended.
        first.dies().await;
        let third = Process::serves(&stage, &name).await;
        // And one that was stopped for so long that another came ends.
        third.freezes();
        let fourth = Process::serves(&stage, &name).await;
        third.thaws();
        let (status, log) = third.ends_and_tells().await;
        assert_eq!(status.code(), Some(1), "{log}");
        assert!(log.contains("another node has taken this node's name"), "{log}");
        let listed = runs(&stage, &["admin", "nodes", "--json"], &[]).await;
        let nodes: Vec<Value> = listed.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(nodes.len(), 1, "{}", listed.out);
        assert_eq!(nodes[0]["address"], fourth.node.address.to_string());
        assert_eq!(nodes[0]["lease"], "alive");
        // In order it leaves nothing behind.
        assert!(fourth.stops().await.success());
        let listed = runs(&stage, &["admin", "nodes", "--json"], &[]).await;
        assert!(listed.status.success() && listed.out.is_empty(), "{}", listed.out);
    }

    async fn whoever_lists_the_nodes_makes_no_database(stage: Stage) {
        let listed = runs(&stage, &["admin", "nodes"], &[]).await;
        assert_eq!(listed.status.code(), Some(1), "{}{}", listed.out, listed.log);
        assert!(!stage.folder().join("quckchat.db").exists());
    }

    async fn an_operator_sees_the_nodes(stage: Stage) {
        let names = ["one", "two"].map(|name| [("QUCKCHAT__CLUSTER__NODE", name), ("QUCKCHAT__CLUSTER__ADVERTISE", name)]);
        let _nodes = [Process::serves(&stage, &names[0]).await, Process::serves(&stage, &names[1]).await];
        let listed = runs(&stage, &["admin", "nodes"], &[]).await;
        let lines: Vec<Vec<&str>> = listed.out.lines().map(|line| line.split_whitespace().collect()).collect();
        let [head, one, two] = lines.as_slice() else { panic!("{}{}", listed.out, listed.log) };
        assert_eq!(head[0], "NODE");
        for (line, name) in [(one, "one"), (two, "two")] {
            assert_eq!((line[0], line[1], line[2]), (name, env!("CARGO_PKG_VERSION"), name));
            assert_eq!((line[3], line[4], line[6], line[8]), ("0", "0", "no", "alive"));
        }
        assert!(listed.log.contains("nodes on "), "{}", listed.log);
    }

    async fn the_schema_is_brought_up_to_date_once(stage: Stage) {
        let first = runs(&stage, &["migrate"], &[]).await;
        assert!(first.status.success() && first.out.contains("applied"), "{}{}", first.out, first.log);
        let second = runs(&stage, &["migrate"], &[]).await;
        assert!(second.status.success() && second.out.contains("up to date"), "{}{}", second.out, second.log);
    }

    async fn roles_are_given_to_people_who_exist(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for (arguments, succeeds, says) in [
            (["admin", "grant", &ann.phone, "operator"], true, "is now operator"),
            (["admin", "grant", &ann.id.to_string(), "operator"], true, "was already operator"),
            (["admin", "revoke", &ann.phone, "operator"], true, "is no longer operator"),
            (["admin", "grant", "nobody", "operator"], false, "nobody"),
            (["admin", "grant", &ann.phone, "king"], false, "king"),
        ] {
            let ended = runs(&stage, &arguments, &[]).await;
            assert_eq!(ended.status.success(), succeeds, "{}", ended.log);
            assert!(format!("{}{}", ended.out, ended.log).contains(says), "{}{}", ended.out, ended.log);
        }
    }
}

/// Runs that end before they touch a database.
async fn refused(arguments: &[&str], variables: &[(&str, &str)], names: &[&str]) {
    let stage = Stage::on_sqlite().await;
    let ended = runs(&stage, arguments, variables).await;
    assert!(!ended.status.success(), "{}", ended.out);
    for name in names {
        assert!(ended.log.contains(name), "{name} in {}", ended.log);
    }
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[actix_web::test]
async fn a_setting_that_does_not_exist_is_refused_by_its_name() {
    refused(&["serve"], &[("QUCKCHAT__GATEWAY__LISTNE", "127.0.0.1:0")], &["gateway.listne"]).await;
    refused(&["serve"], &[("QUCKCHAT__GATEWAY__LISTEN", "everywhere")], &["gateway.listen"]).await;
    refused(&["serve"], &[("QUCKCHAT__ROOMS__IDLE", "a while")], &["rooms.idle"]).await;
    refused(&["serve", "--listen", "everywhere"], &[], &["gateway.listen"]).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "[limits]\nframe_size = 1\n[auth]\naccess_ttl = \"soon\"\n").unwrap();
    let file = file.to_str().unwrap();
    refused(&["serve", "--config", file], &[], &["limits.frame_size", "node.toml"]).await;
    std::fs::write(file, "[auth]\naccess_ttl = \"soon\"\n").unwrap();
    refused(&["serve", "--config", file], &[], &["auth.access_ttl"]).await;
    refused(&["serve", "--config", "/no/such/file.toml"], &[], &["/no/such/file.toml"]).await;
}

#[actix_web::test]
async fn production_refuses_stand_ins_by_name() {
    refused(&["serve"], &[("QUCKCHAT__PROFILE", "production")], &["sms.provider", "secrets.master"]).await;
    let variables =
        [("QUCKCHAT__PROFILE", "production"), ("QUCKCHAT__SECRETS__MASTER", "change-me-change-me-change-me-change-me")];
    refused(&["admin", "seed", "--users", "1"], &variables, &["secrets.master"]).await;
}

#[actix_web::test]
async fn a_database_or_a_port_that_is_not_there_is_named() {
    let absent = [("QUCKCHAT__OPERATIONS__LISTEN", "")];
    refused(&["migrate", "--database", "mysql://nowhere/db"], &absent, &["database.url"]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&["serve", "--listen", &address], &[], &[&address]).await;
}

#[actix_web::test]
async fn what_is_in_effect_is_printed_without_secrets() {
    let stage = Stage::on_sqlite().await;
    let secret = "not-to-be-seen-not-to-be-seen-not-to-be-seen";
    let variables = [("QUCKCHAT__SECRETS__MASTER", secret), ("QUCKCHAT__LIMITS__PARTICIPANTS", "123")];
    let ended = runs(&stage, &["config"], &variables).await;
    assert!(ended.status.success(), "{}", ended.log);
    assert!(ended.out.contains("participants = 123"), "{}", ended.out);
    assert!(!ended.out.contains(secret) && !ended.log.contains(secret));
}

#[actix_web::test]
async fn the_document_is_printed() {
    let stage = Stage::on_sqlite().await;
    let ended = runs(&stage, &["openapi"], &[]).await;
    let document: Value = serde_json::from_str(&ended.out).unwrap();
    let node = Node::start(&stage).await;
    assert_eq!(document, node.gets("/api/v1/openapi.json").await.json());
    stage.clear().await;
}
