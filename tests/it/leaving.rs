//! Leaving: a copy of one's data to take along, and the end of an account, with a time to think again.

use crate::support::node::Reply;
use crate::support::speech::id_of;
use crate::support::*;
use actix_web::http::Method;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};

const DAY: Duration = secs(86_400);
/// How often the node looks for what is due, and how long it may wait for a gap meanwhile.
const ROUNDS: (Duration, Duration) = (secs(61), millis(50));
/// A grace that is shorter than an access token's life.
const SOON: Duration = secs(300);

async fn fetches(node: &Node, link: &str) -> Reply {
    node.requests(Method::GET, link, &[], "").await
}

/// The link of the newest copy.
async fn link(person: &Person) -> String {
    let listed = person.calls("users.listExports", json!({})).await.ok();
    listed["items"][0]["url"].as_str().expect("a link").to_owned()
}

/// The files of a ZIP, as JSON.
fn files(zip: Vec<u8>) -> BTreeMap<String, Value> {
    let mut zip = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let mut files = BTreeMap::new();
    for at in 0..zip.len() {
        let mut file = zip.by_index(at).unwrap();
        let (name, mut text) = (file.name().unwrap().into_owned(), String::new());
        file.read_to_string(&mut text).unwrap();
        files.insert(name, serde_json::from_str(&text).unwrap());
    }
    files
}

async fn asks_to_go(person: &impl Speaks, messages: &str) -> Value {
    person.calls("users.deleteAccount", json!({ "messages": messages })).await.ok()
}

/// Lets time pass in which the jobs of so many nodes look for what is due, until something happens.
async fn in_time<T>(clock: &clock::FakeClock, nodes: usize, happening: impl Future<Output = T>) -> T {
    within(clock.pass_rounds_until(2 * nodes, ROUNDS, happening), "what comes with time").await
}

async fn is_deleted(person: &impl Speaks, whom: &Person) -> bool {
    person.calls("users.getProfile", json!({ "userId": whom.id })).await.ok()["deleted"] == true
}

stories! {
    async fn a_copy_of_ones_data_comes_by_a_link(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        ann.says_in(pair, "hello bob").await;
        bob.says_in(pair, "hello ann").await;
        let (phone, bobs) = (ann.connects().await, bob.connects().await);
        let asked = phone.calls("users.exportData", json!({})).await.ok();
        assert_eq!((&asked["state"], asked.get("url")), (&json!("pending"), None));
        let told = phone.hears("export.ready").await;
        assert_eq!((&told["data"]["id"], &told["data"]["state"]), (&asked["id"], &json!("done")));
        assert_eq!(told["data"].get("url"), None, "whoever holds a session hears it");
        bobs.is_served().await;
        assert!(!bobs.has_heard("export.ready"));

        // The link is all that it takes.
        let reply = fetches(&node, &link(&ann).await).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), Some("application/zip"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert!(reply.header("content-disposition").unwrap().starts_with("attachment; filename=\"quckchat-2026-"));
        assert_eq!(reply.header("content-length").unwrap(), reply.body.len().to_string());
        assert_eq!(told["data"]["sizeBytes"], reply.body.len());
        let files = files(reply.body);
        assert_eq!(files["profile.json"]["phoneNumber"], json!(ann.phone));
        let said = files[&format!("messages/{pair}.json")].as_array().unwrap();
        let said: Vec<_> = said.iter().map(|message| (&message["senderName"], &message["text"])).collect();
        assert_eq!(said, [(&json!("ann"), &json!("hello bob")), (&json!("bob"), &json!("hello ann"))]);
        for kind in ["export_asked", "signed_in"] {
            let events = files["security-events.json"].as_array().unwrap();
            assert!(events.iter().any(|event| event["kind"] == kind), "{kind}");
        }
    }

    async fn a_link_that_was_not_given_or_is_over_opens_nothing(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let phone = ann.connects().await;
        ann.calls("users.exportData", json!({})).await.ok();
        let export = phone.hears("export.ready").await["data"]["id"].clone();
        let good = link(&ann).await;
        let (path, query) = good.split_once('?').unwrap();
        let (expires, signature) = query.split_once('&').unwrap();
        let later = expires.replace("expires=", "expires=9");
        let other = path.replace(export.as_str().unwrap(), &uuid::Uuid::from_u128(7).to_string());
        for forged in [
            format!("{path}?{expires}&{}A", signature),
            format!("{path}?{expires}&signature="),
            format!("{path}?{later}&{signature}"),
            format!("{other}?{query}"),
            format!("/api/v1/exports/nonsense/download?{query}"),
        ] {
            fetches(&node, &forged).await.answer().is_refused(ErrorCode::UserExportNotFound);
        }
        fetches(&node, path).await.answer().is_refused(ErrorCode::RequestInvalid);
        let only = format!("{path}?{signature}&expires=soon");
        fetches(&node, &only).await.answer().is_refused_for(ErrorCode::RequestInvalid, "expires");
        // What is not Bob's is not there for him; what is Ann's she may take back.
        for (who, refused) in [(&bob, true), (&ann, false), (&ann, false)] {
            let answer = who.calls("users.cancelExport", json!({ "exportId": export })).await;
            match refused {
                true => drop(answer.is_refused(ErrorCode::UserExportNotFound)),
                false => drop(answer.ok_with(204)),
            }
        }
        fetches(&node, &good).await.answer().is_refused(ErrorCode::UserExportNotFound);
        ann.calls("users.exportData", json!({})).await.ok();
        phone.hears("export.ready").await;
        let good = link(&ann).await;
        node.clock.advance(7 * DAY - secs(1));
        assert_eq!(fetches(&node, &good).await.status, 200);
        node.clock.advance(secs(1));
        fetches(&node, &good).await.answer().is_refused(ErrorCode::UserExportExpired);
    }

    async fn a_copy_takes_a_fresh_sign_in_and_comes_a_few_times_a_day(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for door in ann.doors().await {
            let phone = ann.connects().await;
            door.calls("users.exportData", json!({})).await.ok();
            phone.hears("export.ready").await;
        }
        let phone = ann.connects().await;
        ann.calls("users.exportData", json!({})).await.ok();
        phone.hears("export.ready").await;
        for door in ann.doors().await {
            let refused = door.calls("users.exportData", json!({})).await.is_refused(ErrorCode::UserExportBudget);
            assert_eq!(refused["retryAfterMs"], 86_400_000);
            let listed = door.calls("users.listExports", json!({})).await.ok();
            assert_eq!(listed["items"].as_array().unwrap().len(), 3);
            door.calls("users.deleteAccount", json!({})).await.is_refused_for(ErrorCode::RequestInvalid, "messages");
            let unknown = door.calls("users.deleteAccount", json!({ "messages": "sell" })).await;
            unknown.is_refused_for(ErrorCode::RequestInvalid, "messages");
        }
        node.clock.advance(SOON);
        for door in ann.doors().await {
            // A link is told to nobody who has only found the device.
            let listed = door.calls("users.listExports", json!({})).await.ok();
            assert_eq!((&listed["items"][0]["state"], listed["items"][0].get("url")), (&json!("done"), None));
            for (command, data) in
                [("users.exportData", json!({})), ("users.deleteAccount", json!({ "messages": "keep" }))]
            {
                door.calls(command, data).await.is_refused(ErrorCode::AuthReauthenticationRequired);
            }
        }
    }

    async fn who_thinks_again_stays(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let laptop = ann.on_another_device().await;
        let (phones, laptops) = (ann.connects().await, laptop.connects().await);
        let asked = asks_to_go(&phones, "remove").await;
        assert_eq!(asked["messages"], "remove");
        // All other devices are out at once; this one knows when.
        assert_eq!(laptops.is_closed().await, 4403);
        laptop.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
        assert_eq!(phones.hears("profile.updated").await["data"]["leavesAt"], asked["leavesAt"]);
        // To the others she is as before.
        let seen = bob.calls("users.getProfile", json!({ "userId": ann.id })).await.ok();
        assert_eq!((seen.get("leavesAt"), seen.get("deleted")), (None, None));
        node.clock.advance(13 * DAY);
        let back = ann.on_another_device().await;
        let me = back.calls("users.getProfile", json!({ "userId": "me" })).await.ok();
        assert_eq!(me["leavesAt"], asked["leavesAt"]);
        back.says_in(pair, "I am still here").await;
        let kept = back.calls("users.cancelDeletion", json!({})).await.ok_with(200);
        assert_eq!((&kept["id"], kept.get("leavesAt")), (&json!(ann.id), None));
        node.clock.advance(30 * DAY);
        let back = ann.on_another_device().await;
        for door in back.doors().await {
            door.calls("users.cancelDeletion", json!({})).await.ok();
            assert!(!is_deleted(&door, &ann).await);
        }
    }

    async fn who_goes_and_thinks_again_all_day_has_no_more_texts_than_codes(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.operations.listen = Some(([127, 0, 0, 1], 0).into())).await;
        let [ann] = node.people(["ann"]).await;
        for _ in 0..8 {
            asks_to_go(&ann, "keep").await;
            ann.calls("users.cancelDeletion", json!({})).await.ok();
        }
        until("three notices to be dropped", async || {
            let page = node.operators("/metrics").await;
            String::from_utf8_lossy(&page.body).contains("quckchat_notices_dropped_total 3")
        })
        .await;
        until("five to be sent", async || node.letters.notices(&ann.phone).len() == 5).await;
        // She may have her codes all the same.
        Person::signs_in(&node, &ann.phone).await.ok();
    }

    async fn after_the_grace_nothing_is_left_but_what_others_have_in_common(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        ann.calls("users.updateProfile", json!({ "userId": "me", "username": "tea.time" })).await.ok();
        let pair = ann.meets(&bob).await;
        let words = ann.says_in(pair, "to be kept").await;
        bob.befriends(&ann).await.ok();
        let met = bob.connects().await.ready["userRev"].as_i64().unwrap();
        ann.calls("users.exportData", json!({})).await.ok();
        let phone = ann.connects().await;
        asks_to_go(&ann, "keep").await;
        node.clock.advance(14 * DAY);
        let bob = bob.on_another_device().await;
        let gone = until("ann to be deleted", async || is_deleted(&bob, &ann).await);
        in_time(&node.clock, 1, gone).await;
        assert!([4401, 4403].contains(&phone.is_closed().await));
        // What was her own goes before she leaves what others have in common with her.
        until("her messages to be left alone", async || bob.sends(pair, "?").await.result.is_err()).await;

        for door in bob.doors().await {
            let seen = door.calls("users.getProfile", json!({ "userId": ann.id })).await.ok();
            assert_eq!((&seen["deleted"], &seen["displayName"]), (&json!(true), &json!("")));
            for gone in ["username", "phoneNumber", "bio", "leavesAt"] {
                assert_eq!(seen.get(gone), None, "{gone}");
            }
            for query in ["ann", "tea"] {
                let found = door.calls("users.search", json!({ "q": query })).await.ok();
                assert_eq!(found["items"], json!([]), "{query}");
            }
            door.creates("private", &[&ann]).await.is_refused(ErrorCode::UserNotFound);
            door.creates("group", &[&ann]).await.is_refused_for(ErrorCode::UserNotFound, "participantIds");
        }
        bob.sends(pair, "hello?").await.is_refused(ErrorCode::UserNotFound);
        // She goes out of his address book, of which his other devices learn.
        let is_out = async || {
            let changes = bob.own_changes(met).await.ok();
            let mut items = changes["items"].as_array().unwrap().iter();
            let is_hers = |contact: &Value| contact["userId"] == json!(ann.id) && contact["removed"] == true;
            items.any(|item| item["type"] == "contact" && is_hers(&item["contact"]))
        };
        until("ann to go out of his address book", is_out).await;
        let seen = bob.looks_at(id_of(&words)).await.ok();
        assert_eq!((&seen["text"], &seen["senderId"]), (&json!("to be kept"), &json!(ann.id)));
        let with = bob.opens(pair).await.ok()["participants"].as_array().unwrap().clone();
        assert!(with.iter().any(|member| member["userId"] == json!(ann.id) && member["removed"] == true), "{with:?}");

        // The number and the name are somebody else's to take.
        let anew = Person::signs_in(&node, &ann.phone).await.ok();
        assert_eq!(anew["isNewUser"], true);
        assert_ne!(anew["user"]["id"], json!(ann.id));
        bob.calls("users.updateProfile", json!({ "userId": "me", "username": "tea.time" })).await.ok();
        ann.spends(&ann.refresh_token()).await.error();
    }
}

fleet_stories! {
    async fn at_every_node_members_hear_that_somebody_has_gone(stage: Stage) {
        let fleet = Fleet::start_with(&stage, 2, |config| config.auth.deletion_grace = SOON).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let (bob, cid) = (bob.at(&fleet[1]), cid.at(&fleet[1]));
        let (pair, group) = (ann.meets(&bob).await, ann.creates_group("tea", &[&bob, &cid]).await);
        let spoken = [ann.says_in(pair, "to bob").await, ann.says_in(group, "to all").await];
        let bobs_words = bob.says_in(group, "bob's words").await;
        ann.reacts(id_of(&bobs_words), "👍").await.ok();
        ann.makes(&cid, "admin", group).await.ok();
        // Cid is away when it happens, Bob listens.
        let mut away = Replica::afresh(&cid, group).await;
        let (phones, bobs) = (ann.at(&fleet[1]).connects().await, bob.connects().await);
        let mut here = Replica::afresh(&bob, group).await;
        asks_to_go(&ann, "remove").await;

        let gone = async {
            bobs.hears_that("participant.removed", |frame| frame["conversationId"] == json!(pair)).await;
            for message in &spoken {
                let told = bobs.hears_that("message.deleted", |frame| frame["data"]["id"] == message["id"]).await;
                assert!(told["data"].get("text").is_none() && told["data"]["deletedAt"].is_string());
            }
            bobs.hears_that("reaction.removed", |frame| frame["data"]["id"] == bobs_words["id"]).await;
            assert_eq!(phones.is_closed().await, 4403);
        };
        in_time(&fleet.clock, 2, gone).await;
        assert!(is_deleted(&bob, &ann).await);
        here.hears(&bobs.heard());
        away.catches_up(&cid, group).await;
        assert_eq!(here.of(group), away.of(group));
        assert_eq!(here.of(group), Replica::afresh(&bob, group).await.of(group));
        assert_eq!(here.of(group).texts(), [None, Some("bob's words")]);
        assert_eq!(here.of(group).roles()[&cid.id.to_string()], "owner");
        cid.renames(group, "tea without ann").await.ok();
    }
}
