//! Address books: by hand, by the numbers that somebody knows, and what each device of theirs learns of it.

use crate::support::speech::Request;
use crate::support::*;

async fn book(door: &impl Speaks, filter: &str) -> Vec<Value> {
    let (mut query, mut found) = (json!({ "filter": filter, "limit": 2 }), Vec::new());
    loop {
        let page = door.calls("users.getContacts", query).await.ok();
        found.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(cursor) = page.get("nextCursor") else { return found };
        query = json!({ "filter": filter, "limit": 2, "cursor": cursor });
    }
}

/// Whom a list holds, by their own names.
fn who(listed: &[Value]) -> Vec<&str> {
    let mut names: Vec<&str> = listed.iter().map(|item| item["user"]["displayName"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

/// The number that whoever arrives next will have.
fn next_number(last: &Person) -> String {
    format!("+{}", last.phone[1..].parse::<u64>().unwrap() + 1)
}

async fn syncs(door: &impl Speaks, mode: &str, numbers: &[(&str, &str)]) -> Value {
    let contacts: Vec<Value> =
        numbers.iter().map(|(number, name)| json!({ "phoneNumber": number, "name": name })).collect();
    door.calls("users.syncContacts", json!({ "contacts": contacts, "mode": mode })).await.ok_with(200)
}

/// What a sync has found: where in the list, whom, and what they are called.
fn matched(reply: &Value) -> Vec<(i64, &str, &str)> {
    let items = reply["matched"].as_array().unwrap().iter();
    items
        .map(|item| {
            let text = |field: &str| item[field].as_str().unwrap_or_default();
            (item["index"].as_i64().unwrap(), text("userId"), text("name"))
        })
        .collect()
}

async fn sets_privacy(whom: &Person, subject: &str, audience: &str) {
    whom.calls("users.updatePrivacy", json!({ subject: audience })).await.ok();
}

stories! {
    async fn people_are_found_by_the_numbers_that_one_knows(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid, dan, eve] = node.people(["ann", "bob", "cid", "dan", "eve"]).await;
        let bobs = bob.id.to_string();
        let ids = |reply: &Value| matched(reply).into_iter().map(|(_, id, _)| id.to_owned()).collect::<Vec<_>>();
        ann.befriends(&dan).await.ok();
        for (at, (door, cid)) in ann.doors().await.into_iter().zip([&cid, &eve]).enumerate() {
            let cids = cid.id.to_string();
            let are = async |names: &[&str]| {
                let mut names = names.to_vec();
                names.sort_unstable();
                assert_eq!(who(&book(&door, "all").await), names);
            };
            let known = [(&*bob.phone, "Uncle Bob"), ("110", "police"), ("+4915199999999", "eve"), (&*bob.phone, "again")];
            let reply = syncs(&door, "replace", &known).await;
            assert_eq!(matched(&reply), [(0, &*bobs, "Uncle Bob")]);
            assert_eq!((&reply["unmatched"], &reply["invalid"]), (&json!(1), &json!([1])));
            are(&["bob", "dan"]).await;
            // The same once more is nothing new.
            let rev = ann.own_changes(0).await.ok()["nextUserRev"].clone();
            assert_eq!(syncs(&door, "replace", &known).await, reply);
            assert_eq!(ann.own_changes(0).await.ok()["nextUserRev"], rev);

            assert_eq!(ids(&syncs(&door, "merge", &[(&cid.phone, "")]).await), [&*cids]);
            are(&["bob", &cid.name, "dan"]).await;
            // Whom a list does not hold any more goes out; who was added by hand stays.
            let reply = syncs(&door, "replace", &[(&cid.phone, "C.")]).await;
            assert_eq!(matched(&reply), [(0, &*cids, "C.")]);
            are(&[&cid.name, "dan"]).await;
            // Whoever was named by hand is there by hand.
            door.calls("users.renameContact", json!({ "userId": cid.id, "name": "Cid" })).await.ok();
            let left = syncs(&door, "replace", &[]).await["budgetLeft"].clone();
            are(&[&cid.name, "dan"]).await;
            door.calls("users.removeContact", json!({ "userId": cid.id })).await.ok();
            assert_eq!(left, 5_000 - 3 - at);
            // Whom one has removed comes back by hand alone.
            assert_eq!(ids(&syncs(&door, "replace", &[(&cid.phone, "C.")]).await), [""; 0]);
            are(&["dan"]).await;
        }
        let national = json!({ "contacts": [{ "phoneNumber": bob.phone.replace("+49", "0") }], "region": "DE" });
        let reply = ann.calls("users.syncContacts", national.clone()).await.ok();
        assert_eq!(ids(&reply), [&*bobs]);
        for (data, field) in [
            (json!({ "contacts": [], "region": "XX" }), "region"),
            (json!({ "contacts": [], "region": "Germany" }), "region"),
            (json!({ "contacts": [], "mode": "more" }), "mode"),
            (json!({ "contacts": [], "more": true }), "more"),
            (json!({ "contacts": [], "mode": "merge", "syncId": 1 }), "syncId"),
            (json!({ "contacts": [], "mode": "replace", "syncId": 1_000_000 }), "syncId"),
            (json!({ "contacts": vec![json!({ "phoneNumber": "" }); 2_001] }), "contacts"),
            (json!({ "contacts": [{ "name": "x" }] }), "contacts[0].phoneNumber"),
        ] {
            ann.calls("users.syncContacts", data).await.is_refused_for(ErrorCode::RequestInvalid, field);
        }
    }

    async fn who_is_not_to_be_found_looks_like_nobody(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let nobody = "+4915199999999";
        sets_privacy(&bob, "foundByNumber", "nobody").await;
        let answers = async |number: &str| {
            let synced = syncs(&ann, "merge", &[(number, "x")]).await;
            let added = ann.calls("users.addContact", json!({ "phoneNumber": number })).await;
            let found = ann.calls("users.search", json!({ "q": number })).await.ok();
            let added = added.is_refused_for(ErrorCode::UserNotFound, "phoneNumber")["code"].clone();
            (synced["matched"].clone(), synced["unmatched"].clone(), added, found)
        };
        assert_eq!(answers(&bob.phone).await, answers(nobody).await);
        assert!(book(&ann, "all").await.is_empty());
        // Those in his own address book find him.
        sets_privacy(&bob, "foundByNumber", "contacts").await;
        assert_eq!(matched(&syncs(&ann, "merge", &[(&bob.phone, "x")]).await), []);
        bob.befriends(&ann).await.ok();
        assert_eq!(matched(&syncs(&ann, "merge", &[(&bob.phone, "x")]).await).len(), 1);
        let found = ann.calls("users.search", json!({ "q": bob.phone })).await.ok();
        assert_eq!(found["items"][0]["id"], json!(bob.id));
        // Who was found stays, whatever becomes of the setting and of the list: neither tells of the other.
        sets_privacy(&bob, "foundByNumber", "nobody").await;
        for list in [&[(&*bob.phone, "x")][..], &[]] {
            assert_eq!(matched(&syncs(&ann, "replace", list).await), []);
            assert_eq!(who(&book(&ann, "all").await), ["bob"]);
        }
        sets_privacy(&bob, "foundByNumber", "everyone").await;
        syncs(&ann, "replace", &[]).await;
        assert!(book(&ann, "all").await.is_empty());
        // Neither finds the other while one of them blocks.
        ann.blocks(&bob).await.ok();
        assert_eq!(matched(&syncs(&ann, "merge", &[(&bob.phone, "x")]).await), []);
        assert_eq!(matched(&syncs(&bob, "merge", &[(&ann.phone, "x")]).await), []);
    }

    async fn new_numbers_are_counted_by_the_day_over_all_nodes(stage: Stage) {
        let set = |config: &mut quckchat::config::Config| {
            (config.contacts.numbers_first_day, config.contacts.numbers_per_day) = (6, 3);
        };
        let fleet = Fleet::start_with(&stage, 2, set).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let there = ann.at(&fleet[1]);
        let numbers: Vec<String> = (0..20).map(|n| format!("+49151999999{n:02}")).collect();
        let list = |range: std::ops::Range<usize>| {
            let contacts: Vec<Value> = numbers[range].iter().map(|number| json!({ "phoneNumber": number })).collect();
            json!({ "contacts": contacts })
        };
        let asks = async |person: &Person, range| person.calls("users.syncContacts", list(range)).await;
        assert_eq!(asks(&ann, 0..4).await.ok()["budgetLeft"], 2);
        // All or nothing.
        let refused = asks(&there, 4..7).await.is_refused(ErrorCode::ContactsBudget);
        assert_eq!(refused["retryAfterMs"], 24 * 3600 * 1000);
        assert_eq!(asks(&there, 0..4).await.ok()["budgetLeft"], 2);
        // Searches and additions by number draw on the same.
        ann.calls("users.search", json!({ "q": numbers[4] })).await.ok();
        there.calls("users.addContact", json!({ "phoneNumber": bob.phone })).await.ok();
        ann.calls("users.search", json!({ "q": numbers[5] })).await.is_refused(ErrorCode::ContactsBudget);
        let known = json!({ "phoneNumber": numbers[0] });
        ann.calls("users.addContact", known).await.is_refused(ErrorCode::UserNotFound);
        ann.calls("users.addContact", json!({ "phoneNumber": numbers[5] })).await.is_refused(ErrorCode::ContactsBudget);

        // From the second day on fewer, and each of them is free again a day later.
        fleet.clock.advance(secs(24 * 3600));
        ann.refreshes().await;
        assert_eq!(asks(&ann, 0..0).await.ok()["budgetLeft"], 3);
        assert_eq!(asks(&ann, 5..7).await.ok()["budgetLeft"], 1);
        fleet.clock.advance(secs(60));
        let refused = asks(&there, 7..10).await.is_refused(ErrorCode::ContactsBudget);
        assert_eq!(refused["retryAfterMs"], (24 * 3600 - 60) * 1000);
        let never = asks(&there, 7..11).await.is_refused(ErrorCode::ContactsBudget);
        assert!(never.get("retryAfterMs").is_none());
        fleet.clock.advance(secs(24 * 3600 - 60));
        ann.refreshes().await;
        assert_eq!(asks(&there, 7..10).await.ok()["budgetLeft"], 0);
    }

    async fn an_address_book_is_not_synced_without_end(stage: Stage) {
        let set = |config: &mut quckchat::config::Config| {
            (config.limits.syncs_per_user_per_sec, config.limits.syncs_per_user_burst) = (1, 2);
        };
        let node = Node::start_with(&stage, set).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        for door in ann.doors().await {
            syncs(&door, "merge", &[]).await;
        }
        for door in ann.doors().await {
            let refused = door.calls("users.syncContacts", json!({ "contacts": [] })).await;
            assert_eq!(refused.is_refused(ErrorCode::RequestRateLimited)["retryAfterMs"], 1_000);
        }
        syncs(&bob, "merge", &[]).await;
    }

    async fn an_address_book_is_kept_by_hand(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid, dan] = node.people(["ann", "bob", "cid", "dan"]).await;
        bob.calls("users.updateProfile", json!({ "userId": "me", "username": "Bobby" })).await.ok();
        for door in ann.doors().await {
            let added = door.calls("users.addContact", json!({ "username": "bobBY", "name": " Uncle Bob " })).await.ok();
            assert_eq!((&added["userId"], &added["name"]), (&json!(bob.id), &json!("Uncle Bob")));
            door.befriends(&cid).await.ok();
            let dans = door.calls("users.addContact", json!({ "phoneNumber": dan.phone })).await.ok();
            assert_eq!((&dans["userId"], dans.get("name")), (&json!(dan.id), None));
            assert_eq!(who(&book(&door, "all").await), ["bob", "cid", "dan"]);
            // Once more says nothing new.
            assert_eq!(door.befriends(&bob).await.ok(), added);

            let change = json!({ "userId": cid.id, "favourite": true });
            assert_eq!(door.calls("users.renameContact", change).await.ok()["favourite"], true);
            let change = json!({ "userId": bob.id, "name": "" });
            let bobs = door.calls("users.renameContact", change).await.ok();
            assert_eq!((bobs.get("name"), &bobs["favourite"]), (None, &json!(false)));
            assert_eq!(who(&book(&door, "favourites").await), ["cid"]);
            for whom in [&bob, &cid, &dan, &dan] {
                door.calls("users.removeContact", json!({ "userId": whom.id })).await.ok_with(204);
            }
            assert!(book(&door, "all").await.is_empty() && book(&door, "favourites").await.is_empty());
            let change = json!({ "userId": cid.id, "favourite": true });
            door.calls("users.renameContact", change).await.is_refused(ErrorCode::ContactNotFound);
        }
        assert!(book(&bob, "all").await.is_empty());
    }

    async fn what_cannot_stand_in_an_address_book_is_refused(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.contacts.most = 2).await;
        let [ann, bob, cid, dan] = node.people(["ann", "bob", "cid", "dan"]).await;
        let nobody = "01990000-0000-7000-8000-000000000001";
        for door in ann.doors().await {
            for (data, code, field) in [
                (json!({}), ErrorCode::RequestInvalid, "userId"),
                (json!({ "userId": bob.id, "username": "bob" }), ErrorCode::RequestInvalid, "userId"),
                (json!({ "userId": ann.id }), ErrorCode::RequestInvalid, "userId"),
                (json!({ "userId": nobody }), ErrorCode::UserNotFound, "userId"),
                (json!({ "username": "nobody" }), ErrorCode::UserNotFound, "username"),
                (json!({ "username": "?" }), ErrorCode::RequestInvalid, "username"),
                (json!({ "phoneNumber": "0151 12345678" }), ErrorCode::RequestInvalid, "phoneNumber"),
                (json!({ "phoneNumber": "+4915199999999" }), ErrorCode::UserNotFound, "phoneNumber"),
                (json!({ "userId": bob.id, "name": "x".repeat(101) }), ErrorCode::RequestInvalid, "name"),
            ] {
                door.calls("users.addContact", data).await.is_refused_for(code, field);
            }
            door.befriends(&bob).await.ok();
            door.befriends(&cid).await.ok();
            door.befriends(&dan).await.is_refused(ErrorCode::ContactsFull);
            let bad = json!({ "cursor": "nonsense" });
            door.calls("users.getContacts", bad).await.is_refused_for(ErrorCode::RequestInvalid, "cursor");
        }
    }
}

fleet_stories! {
    async fn both_are_told_when_somebody_joins_whose_number_was_known(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let number = next_number(&cid);
        let (anns, bobs) = (ann.connects().await, bob.connects().await);
        for person in [&ann, &bob, &cid] {
            assert_eq!(matched(&syncs(person, "merge", &[(&number, "Dan the man")]).await), []);
        }
        sets_privacy(&bob, "foundByNumber", "nobody").await;
        syncs(&cid, "replace", &[]).await;
        let dan = Person::arrives(&fleet[1], "dan").await;
        assert_eq!(dan.phone, number);
        for socket in [&anns, &bobs] {
            let told = socket.hears("contact.updated").await;
            let (who, name) = (&told["data"]["userId"], &told["data"]["name"]);
            assert_eq!((who, name), (&json!(dan.id), &json!("Dan the man")));
        }
        assert_eq!(who(&book(&ann, "all").await), ["dan"]);
        // Those who let themselves be found are proposed; Cid has taken the number out.
        assert_eq!(who(&book(&dan, "suggested").await), ["ann"]);
        assert!(book(&dan, "all").await.is_empty() && book(&cid, "all").await.is_empty());
        // Whoever was taken off the list stays off; whoever is added is a contact.
        dan.befriends(&ann).await.ok();
        assert!(book(&dan, "suggested").await.is_empty());
        assert_eq!(who(&book(&dan, "all").await), ["ann"]);
        // Signing in again is no joining.
        dan.on_another_device().await;
        assert_eq!(who(&book(&dan, "suggested").await), [] as [&str; 0]);
    }

    async fn both_are_told_once_when_somebody_takes_a_number_that_was_known(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob, cid, dan, eve] = fleet[0].people(["ann", "bob", "cid", "dan", "eve"]).await;
        let (first, second) = (stage.phone_number(), stage.phone_number());
        for (person, number) in [(&ann, &first), (&bob, &first), (&cid, &second)] {
            assert_eq!(matched(&syncs(person, "merge", &[(number, "Dan the man")]).await), []);
        }
        sets_privacy(&bob, "foundByNumber", "nobody").await;
        let (anns, dans) = (ann.connects().await, dan.connects().await);
        let [there, bobs, cids, eves] = [&ann, &bob, &cid, &eve].map(|person| person.at(&fleet[1]));
        let (there, bobs, cids, eves) =
            (there.connects().await, bobs.connects().await, cids.connects().await, eves.connects().await);
        let takes = async |number: &str| {
            let asked = json!({ "phoneNumber": number, "purpose": "changePhone" });
            let sent = dan.calls("auth.sendOtp", asked).await.ok();
            let id = sent["verificationId"].as_str().unwrap();
            until("a code to go out", async || fleet[0].letters.code(id).is_some()).await;
            let code = fleet[0].letters.code(id);
            let shown = json!({ "verificationId": id, "code": code });
            dan.at(&fleet[1]).calls("users.changePhone", shown).await.ok();
        };
        let of_dan = |frame: &Value| frame["data"]["userId"] == json!(dan.id);
        takes(&first).await;
        for socket in [&anns, &there, &bobs] {
            assert_eq!(socket.hears_that("contact.updated", of_dan).await["data"]["name"], "Dan the man");
        }
        dans.hears_that("contact.updated", |frame| frame["data"]["userId"] == json!(ann.id)).await;
        assert_eq!((who(&book(&ann, "all").await), who(&book(&dan, "suggested").await)), (vec!["dan"], vec!["ann"]));
        // Away and back: those who know it already hear nothing, and those who learnt the number meanwhile do.
        let rev = ann.own_changes(0).await.ok()["nextUserRev"].clone();
        takes(&second).await;
        cids.hears_that("contact.updated", of_dan).await;
        assert_eq!(matched(&syncs(&eve, "merge", &[(&first, "D.")]).await), []);
        takes(&first).await;
        eves.hears_that("contact.updated", of_dan).await;
        assert_eq!(ann.own_changes(0).await.ok()["nextUserRev"], rev);
        for (socket, known) in [(&anns, &dan), (&there, &dan), (&bobs, &dan), (&dans, &ann)] {
            socket.is_served().await;
            let told = |frame: &&Value| {
                frame["event"] == "contact.updated" && frame["data"]["userId"] == json!(known.id)
            };
            assert_eq!(socket.heard().iter().filter(told).count(), 1, "of {}", known.name);
        }
        assert_eq!(who(&book(&dan, "suggested").await), ["ann", "cid", "eve"]);
    }

    async fn they_are_told_at_once_by_whatever_door_somebody_joins(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let number = next_number(&bob);
        let anns = ann.connects().await;
        syncs(&ann, "merge", &[(&number, "Dan the man")]).await;
        let sent = fleet[1].asks(None, Request::of("auth.sendOtp", json!({ "phoneNumber": number }))).await.ok();
        let verification = sent["verificationId"].as_str().unwrap();
        let code = fleet[1].letters.code(verification).unwrap();
        let data = json!({ "verificationId": verification, "code": code });
        let dan = fleet[1].asks(None, Request::of("auth.login", data)).await.ok();
        assert_eq!(anns.hears("contact.updated").await["data"]["userId"], dan["user"]["id"]);
    }

    async fn two_devices_that_sync_at_once_lose_nothing_and_get_no_more(stage: Stage) {
        let fleet = Fleet::in_real_time_with(&stage, 2, |config| config.contacts.numbers_first_day = 40).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let there = ann.at(&fleet[1]);
        let list = |from: usize, whom: &Person| {
            let strangers = (from..from + 24).map(|n| json!({ "phoneNumber": format!("+49151999999{n:02}") }));
            let contacts: Vec<Value> = strangers.chain([json!({ "phoneNumber": whom.phone })]).collect();
            json!({ "contacts": contacts })
        };
        // Both fit: they share most of their numbers.
        let (one, other) = (list(0, &bob), list(4, &cid));
        let (one, other) =
            tokio::join!(ann.calls("users.syncContacts", one), there.calls("users.syncContacts", other));
        assert_eq!((matched(&one.ok()).len(), matched(&other.ok()).len()), (1, 1));
        assert_eq!(who(&book(&ann, "all").await), ["bob", "cid"]);
        assert_eq!(syncs(&ann, "merge", &[]).await["budgetLeft"], 10);
        // Of those who would take more than is left, one goes first.
        let wants = |n: usize| json!({ "contacts": (0..6).map(|m| json!({ "phoneNumber": format!("+4915188888{n}{m}0") })).collect::<Vec<_>>() });
        let asks = |n: usize| {
            let (person, data) = (if n.is_multiple_of(2) { ann.clone() } else { there.clone() }, wants(n));
            async move { person.calls("users.syncContacts", data).await }
        };
        let answers = futures_util::future::join_all((0..6).map(asks)).await;
        assert_eq!(answers.into_iter().filter(|answer| answer.result.is_ok()).count(), 1);
        assert_eq!(syncs(&ann, "merge", &[]).await["budgetLeft"], 4);
        // Two whole lists at once end as if one had come after the other.
        let (bobs, cids) = ([(&*bob.phone, "b")], [(&*cid.phone, "c")]);
        tokio::join!(syncs(&ann, "replace", &bobs), syncs(&there, "replace", &cids));
        assert_eq!(book(&ann, "all").await.len(), 1);
    }

    async fn every_device_learns_of_ones_contacts(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let (phone, laptop, bobs) = (ann.connects().await, ann.at(&fleet[1]).connects().await, bob.connects().await);
        let user_rev = laptop.ready["userRev"].as_i64().unwrap();
        let added = phone.befriends(&bob).await.ok();
        for device in [&phone, &laptop] {
            let told = device.hears("contact.updated").await;
            assert_eq!((&told["userRev"], &told["data"]), (&json!(user_rev + 1), &added));
        }
        phone.calls("users.removeContact", json!({ "userId": bob.id })).await.ok();
        assert_eq!(laptop.hears("contact.updated").await["data"]["removed"], true);
        let block = laptop.blocks(&bob).await.ok();
        let told = phone.hears("block.updated").await;
        assert_eq!((&told["userRev"], &told["data"]), (&json!(user_rev + 3), &block));
        laptop.unblocks(&bob).await.ok();
        assert_eq!(phone.hears("block.updated").await["data"]["removed"], true);
        // One that was away learns how it is now.
        let page = ann.own_changes(user_rev).await.ok();
        let kinds: Vec<&Value> = page["items"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
        assert_eq!((kinds, &page["nextUserRev"]), (vec![&json!("contact"), &json!("block")], &json!(user_rev + 4)));
        assert_eq!(page["items"][0]["contact"]["removed"], true);
        bobs.is_served().await;
        assert!(!bobs.has_heard("contact.updated") && !bobs.has_heard("block.updated"));
    }
}
