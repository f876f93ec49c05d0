//! Privacy: what each one lets whom see and do, at every door that shows a person or lets something be done to them.

use crate::support::*;

const AUDIENCES: [&str; 3] = ["everyone", "contacts", "nobody"];

/// Somebody who looks at Bob, and whether they may see what is for each of the audiences.
struct Viewer {
    stands: &'static str,
    person: Person,
    may: [bool; 3],
}

/// Bob, and everybody in a group with him and in a private conversation: as each of them stands to him.
struct Circle {
    bob: Person,
    viewers: Vec<Viewer>,
    group: ConversationId,
}

impl Circle {
    async fn on(node: &Node) -> Circle {
        let [bob, contact, stranger, blocked, blocker] =
            node.people(["bob", "contact", "stranger", "blocked", "blocker"]).await;
        let group = bob.creates_group("tea", &[&contact, &stranger, &blocked, &blocker]).await;
        for other in [&contact, &stranger, &blocked, &blocker] {
            other.meets(&bob).await;
        }
        bob.befriends(&contact).await.ok();
        // It is Bob's address book that counts, not theirs; and a block goes before it.
        stranger.befriends(&bob).await.ok();
        bob.befriends(&blocked).await.ok();
        bob.befriends(&blocker).await.ok();
        bob.blocks(&blocked).await.ok();
        blocker.blocks(&bob).await.ok();
        let viewer = |stands, person, may| Viewer { stands, person, may };
        let viewers = vec![
            viewer("own", bob.clone(), [true, true, true]),
            viewer("contact", contact, [true, true, false]),
            viewer("stranger", stranger, [true, false, false]),
            viewer("blocked", blocked, [false, false, false]),
            viewer("blocker", blocker, [false, false, false]),
        ];
        Circle { bob, viewers, group }
    }

    fn others(&self) -> impl Iterator<Item = &Viewer> {
        self.viewers.iter().filter(|viewer| viewer.stands != "own")
    }
}

fn of_bob(items: &Value, bob: &Person, field: &str) -> Value {
    let items = items.as_array().unwrap();
    items.iter().find(|item| item[field] == json!(bob.id)).unwrap_or_else(|| panic!("no bob in {items:?}")).clone()
}

/// Bob as each door shows him to somebody.
async fn seen_at(door: &impl Speaks, circle: &Circle, pair: Option<ConversationId>) -> Vec<(&'static str, Value)> {
    let bob = &circle.bob;
    let mut seen = Vec::new();
    seen.push(("getProfile", door.calls("users.getProfile", json!({ "userId": bob.id })).await.ok()));
    let found = door.calls("users.search", json!({ "q": "bob" })).await.ok();
    seen.push(("search", of_bob(&found["items"], bob, "id")));
    let query = json!({ "conversationId": circle.group });
    let members = door.calls("conversations.listParticipants", query).await.ok();
    seen.push(("listParticipants", of_bob(&members["items"], bob, "userId")["user"].clone()));
    let group = door.opens(circle.group).await.ok();
    seen.push(("get", of_bob(&group["participants"], bob, "userId")["user"].clone()));
    if let Some(pair) = pair {
        let pair = door.opens(pair).await.ok();
        seen.push(("get of a pair", of_bob(&pair["participants"], bob, "userId")["user"].clone()));
    }
    seen
}

stories! {
    async fn what_a_profile_says_is_for_those_whom_its_owner_lets_see_it(stage: Stage) {
        let node = Node::start(&stage).await;
        let circle = Circle::on(&node).await;
        let bob = &circle.bob;
        let avatar = "01990000-0000-7000-8000-00000000a7a7";
        let profile = json!({ "userId": "me", "bio": "Tea.", "avatarId": avatar });
        bob.calls("users.updateProfile", profile).await.ok();
        bob.calls("users.setStatus", json!({ "text": "at the sea", "emoji": "🏖️" })).await.ok();
        let subjects: [(&str, &[&str]); 3] =
            [("photo", &["avatarId"]), ("bio", &["bio", "status"]), ("phoneNumber", &["phoneNumber"])];
        let mut doors = Vec::new();
        for viewer in &circle.viewers {
            let pair = match viewer.stands {
                "own" => None,
                _ => Some(viewer.person.meets(bob).await),
            };
            doors.push((viewer, pair, viewer.person.doors().await));
        }
        for (subject, fields) in subjects {
            for (at, audience) in AUDIENCES.into_iter().enumerate() {
                bob.lets(subject, audience).await;
                for (viewer, pair, doors) in &doors {
                    for door in doors {
                        for (place, seen) in seen_at(door, &circle, *pair).await {
                            let what = format!("{subject} for {audience} to {} at {place}", viewer.stands);
                            // Their name is for everybody who knows of them.
                            assert_eq!(seen["displayName"], "bob", "{what}");
                            for field in fields {
                                assert_eq!(seen.get(field).is_some(), viewer.may[at], "{what}: {seen}");
                            }
                        }
                    }
                }
                // As it was, so that each rule is seen alone.
                bob.lets(subject, "everyone").await;
            }
        }
    }

    async fn whether_somebody_is_there_is_for_those_whom_they_let_see_it(stage: Stage) {
        let node = Node::start(&stage).await;
        let circle = Circle::on(&node).await;
        let bob = &circle.bob;
        let bobs = bob.connects().await;
        let mut sockets = Vec::new();
        for viewer in circle.others() {
            sockets.push((viewer, viewer.person.connects().await));
        }
        let asked = json!({ "userIds": [bob.id] });
        for (at, audience) in AUDIENCES.into_iter().enumerate() {
            bob.lets("lastSeen", audience).await;
            bobs.calls("presence.set", json!({ "status": "away" })).await.ok();
            for (viewer, socket) in &sockets {
                let what = format!("{audience} to {}", viewer.stands);
                let status = if viewer.may[at] { "away" } else { "offline" };
                let expected = json!([{ "userId": bob.id, "status": status }]);
                assert_eq!(viewer.person.calls("presence.get", asked.clone()).await.ok()["items"], expected, "{what}");
                assert_eq!(socket.calls("presence.get", asked.clone()).await.ok()["items"], expected, "{what}");
                assert_eq!(socket.calls("presence.watch", asked.clone()).await.ok()["items"], expected, "{what}");
            }
            bobs.calls("presence.set", json!({ "status": "busy" })).await.ok();
            bobs.says_in(circle.group, &format!("said {audience}")).await;
            for (viewer, socket) in &sockets {
                // What is said is heard behind what was told before.
                socket.hears_said(&format!("said {audience}")).await;
                let told = socket.heard().iter().filter(|frame| frame["data"]["status"] == "busy").count();
                let before = viewer.may[..at].iter().filter(|may| **may).count();
                assert_eq!(told, before + usize::from(viewer.may[at]), "{audience} to {}", viewer.stands);
            }
        }
        // When somebody was there last is for the same.
        bobs.hangs_up().await;
        node.clock.let_pass(secs(7)).await;
        for (at, audience) in AUDIENCES.into_iter().enumerate() {
            bob.lets("lastSeen", audience).await;
            for viewer in circle.others() {
                let seen = async || {
                    let found = viewer.person.calls("presence.get", asked.clone()).await.ok();
                    found["items"][0].get("lastSeenAt").is_some()
                };
                if viewer.may[at] {
                    until("bob to be gone", &seen).await;
                } else {
                    assert!(!seen().await, "{audience} to {}", viewer.stands);
                }
            }
        }
    }

    async fn who_may_see_somebody_changes_at_once_on_every_node(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob, cid] = fleet[0].people(["ann", "bob", "cid"]).await;
        let group = bob.creates_group("tea", &[&ann, &cid]).await;
        bob.befriends(&cid).await.ok();
        let _bobs = bob.connects().await;
        let (anns, cids) = (ann.at(&fleet[1]).connects().await, cid.at(&fleet[1]).connects().await);
        for socket in [&anns, &cids] {
            until("bob to be there", async || {
                let found = socket.calls("presence.watch", json!({ "userIds": [bob.id] })).await.ok();
                found["items"][0]["status"] == "online"
            })
            .await;
        }
        let shown = async |status: &str| {
            let fits = |frame: &Value| frame["data"]["userId"] == json!(bob.id) && frame["data"]["status"] == status;
            let told = anns.takes("presence.changed", |frame| frame["event"] == "presence.changed" && fits(frame)).await;
            assert_eq!(told["data"], json!({ "userId": bob.id, "status": status }));
        };
        bob.lets("lastSeen", "contacts").await;
        shown("offline").await;
        bob.befriends(&ann).await.ok();
        shown("online").await;
        bob.calls("users.removeContact", json!({ "userId": ann.id })).await.ok();
        shown("offline").await;
        bob.lets("lastSeen", "everyone").await;
        shown("online").await;
        for (one, other) in [(&bob, &ann), (&ann, &bob)] {
            one.blocks(other).await.ok();
            shown("offline").await;
            one.unblocks(other).await.ok();
            shown("online").await;
        }
        // Who might all the time heard of nothing.
        bob.says_in(group, "all of it").await;
        cids.hears_said("all of it").await;
        assert!(!cids.heard().iter().any(|frame| frame["data"]["status"] == "offline"), "{:?}", cids.heard());
    }

    async fn that_a_profile_has_changed_is_told_to_who_watches_and_is_not_blocked(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let circle = Circle::on(&fleet[0]).await;
        let bob = &circle.bob;
        bob.lets("lastSeen", "nobody").await;
        let mut sockets = Vec::new();
        for viewer in circle.others() {
            let socket = viewer.person.at(&fleet[1]).connects().await;
            socket.calls("presence.watch", json!({ "userIds": [bob.id] })).await.ok();
            sockets.push((viewer, socket));
        }
        let changes = [
            ("users.updateProfile", json!({ "userId": "me", "bio": "Tea." })),
            ("users.setStatus", json!({ "emoji": "☕" })),
            ("users.updatePrivacy", json!({ "photo": "contacts" })),
        ];
        for (command, data) in changes {
            bob.calls(command, data).await.ok();
            // A picture for contacts is to them what one for everyone was.
            let hears = |viewer: &Viewer| viewer.may[0] && (command != "users.updatePrivacy" || !viewer.may[1]);
            for (_, socket) in sockets.iter().filter(|(viewer, _)| hears(viewer)) {
                let told = socket.takes(command, |frame| frame["event"] == "user.updated").await;
                assert_eq!(told["data"], json!({ "userId": bob.id }), "nothing of what it says");
            }
        }
        bob.says_in(circle.group, "done").await;
        for (viewer, socket) in &sockets {
            socket.hears_said("done").await;
            let told = socket.heard().iter().filter(|frame| frame["event"] == "user.updated").count();
            let times = if !viewer.may[0] { 0 } else if viewer.may[1] { 2 } else { 3 };
            assert_eq!(told, times, "{}", viewer.stands);
            assert!(!socket.has_heard("presence.changed"), "{}", viewer.stands);
        }
    }

    async fn that_somebody_is_at_their_device_shows_in_no_event(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob, cid, eve] = fleet[0].people(["ann", "bob", "cid", "eve"]).await;
        bob.creates_group("tea", &[&ann, &cid]).await;
        bob.lets("lastSeen", "nobody").await;
        bob.lets("phoneNumber", "contacts").await;
        let (anns, cids) = (ann.at(&fleet[1]).connects().await, cid.at(&fleet[1]).connects().await);
        for socket in [&anns, &cids] {
            socket.calls("presence.watch", json!({ "userIds": [bob.id] })).await.ok();
        }
        let known = json!({ "contacts": [{ "phoneNumber": "+4915199999999" }], "mode": "replace" });
        for (command, data) in [
            ("users.syncContacts", json!({ "contacts": [] })),
            ("users.syncContacts", known),
            ("users.removeContact", json!({ "userId": ann.id })),
            ("users.updatePrivacy", json!({ "lastSeen": "nobody" })),
            ("users.updatePrivacy", json!({ "called": "nobody" })),
            ("users.unblock", json!({ "userId": ann.id })),
            ("users.block", json!({ "userId": eve.id })),
            ("users.addContact", json!({ "userId": cid.id })),
        ] {
            bob.calls(command, data).await.ok();
        }
        eve.unblocks(&bob).await.ok();
        let updated = |frame: &Value| frame["event"] == "user.updated";
        cids.takes("that Bob's number is for Cid", updated).await;
        // What is told next is all that there was to tell.
        bob.lets("photo", "nobody").await;
        for (socket, times) in [(&anns, 1), (&cids, 2)] {
            socket.takes("that Bob's picture is for nobody", updated).await;
            assert_eq!(socket.heard().iter().filter(|frame| updated(frame)).count(), times);
            assert!(!socket.has_heard("presence.changed"));
        }
    }

    async fn what_somebody_has_read_is_for_those_whom_they_tell_and_who_tell_them(stage: Stage) {
        let node = Node::start(&stage).await;
        let circle = Circle::on(&node).await;
        let bob = &circle.bob;
        for viewer in circle.others().filter(|viewer| viewer.may[0]) {
            // What their own choice lets Bob see: the stranger has him in their address book, the contact has not.
            let back = if viewer.stands == "stranger" { [true, true, false] } else { [true, false, false] };
            let socket = viewer.person.connects().await;
            let pair = viewer.person.meets(bob).await;
            for (at, bobs) in AUDIENCES.into_iter().enumerate() {
                for (own, anothers) in AUDIENCES.into_iter().enumerate() {
                    bob.lets("readReceipts", bobs).await;
                    viewer.person.lets("readReceipts", anothers).await;
                    let seq = viewer.person.says_in(pair, "read this").await["seq"].as_i64().unwrap();
                    bob.reads(pair, seq).await.ok();
                    let text = format!("answer to {seq}");
                    bob.says_in(pair, &text).await;
                    socket.hears_said(&text).await;
                    let may = viewer.may[at] && back[own];
                    let what = format!("{bobs} to a {} who tells {anothers}", viewer.stands);
                    let heard = |event: &str| {
                        socket.heard().iter().any(|frame| frame["event"] == event && frame["data"]["seq"] == seq)
                    };
                    assert_eq!((heard("receipt.read"), heard("receipt.delivered")), (may, !may), "{what}");
                    let query = json!({ "conversationId": pair });
                    let members = viewer.person.calls("conversations.listParticipants", query).await.ok();
                    let member = of_bob(&members["items"], bob, "userId");
                    assert_eq!(member.get("readSeq").is_some(), may, "{what}");
                    assert_eq!(member["deliveredSeq"], seq, "{what}");
                }
            }
        }
    }

    async fn in_a_group_all_are_told_what_somebody_has_read_or_nobody(stage: Stage) {
        let node = Node::start(&stage).await;
        let circle = Circle::on(&node).await;
        let (bob, group) = (&circle.bob, circle.group);
        let mut sockets = Vec::new();
        for viewer in circle.others() {
            sockets.push((viewer, viewer.person.connects().await));
        }
        for audience in AUDIENCES {
            bob.lets("readReceipts", audience).await;
            let seq = sockets[0].1.says_in(group, "read this").await["seq"].as_i64().unwrap();
            bob.reads(group, seq).await.ok();
            bob.says_in(group, &format!("answer to {seq}")).await;
            for (viewer, socket) in &sockets {
                socket.hears_said(&format!("answer to {seq}")).await;
                let read = |frame: &Value| frame["event"] == "receipt.read" && frame["data"]["seq"] == seq;
                let heard = socket.heard().iter().any(read);
                assert_eq!(heard, audience == "everyone", "{audience} to {}", viewer.stands);
                let members = socket.opens(group).await.ok();
                let member = of_bob(&members["participants"], bob, "userId");
                assert_eq!(member.get("readSeq").is_some(), audience == "everyone", "{audience} to {}", viewer.stands);
            }
        }
    }

    async fn nobody_is_added_to_a_group_who_does_not_let_the_adder(stage: Stage) {
        let node = Node::start(&stage).await;
        let circle = Circle::on(&node).await;
        let bob = &circle.bob;
        let [dan] = node.people(["dan"]).await;
        for (at, audience) in AUDIENCES.into_iter().enumerate() {
            bob.lets("addedToGroups", audience).await;
            for viewer in circle.others() {
                let what = format!("{audience} by a {}", viewer.stands);
                for door in viewer.person.doors().await {
                    let group = door.creates_group("more tea", &[]).await;
                    let added = door.adds(&[&dan, bob], group).await;
                    let command = json!({ "kind": "group", "name": "cake", "participantIds": [dan.id, bob.id] });
                    let created = door.calls("conversations.create", command).await;
                    if viewer.may[at] {
                        assert_eq!(added.ok()["participantCount"], 3, "{what}");
                        assert_eq!(created.ok()["participantCount"], 3, "{what}");
                        continue;
                    }
                    for (refused, field) in [(added, "userIds"), (created, "participantIds")] {
                        let error = refused.is_refused_for(ErrorCode::UserNotAddable, field);
                        assert_eq!(error["userIds"], json!([bob.id]), "{what}");
                    }
                    // Nobody else was added either.
                    assert_eq!(door.opens(group).await.ok()["participantCount"], 1, "{what}");
                }
            }
        }
        // Who is a member already is not asked again.
        let adder = &circle.viewers[2].person;
        let group = adder.creates_group("tea for two", &[]).await;
        bob.lets("addedToGroups", "everyone").await;
        adder.adds(&[bob], group).await.ok();
        bob.lets("addedToGroups", "nobody").await;
        assert_eq!(adder.adds(&[bob, &dan], group).await.ok()["participantCount"], 3);
        bob.leaves(group).await.ok();
        adder.adds(&[bob], group).await.is_refused(ErrorCode::UserNotAddable);
    }

    async fn by_their_number_somebody_is_found_who_lets_themselves_be(stage: Stage) {
        let node = Node::start(&stage).await;
        let circle = Circle::on(&node).await;
        let bob = &circle.bob;
        for (at, audience) in AUDIENCES.into_iter().enumerate() {
            bob.lets("foundByNumber", audience).await;
            for viewer in circle.others() {
                let what = format!("{audience} by a {}", viewer.stands);
                for door in viewer.person.doors().await {
                    let found = door.calls("users.addContact", json!({ "phoneNumber": bob.phone })).await;
                    assert_eq!(found.result.is_ok(), viewer.may[at], "{what}: {found:?}");
                    if !viewer.may[at] {
                        // As for a number that nobody has.
                        let nobody = json!({ "phoneNumber": "+4915199999999" });
                        assert_eq!(found.gist(), door.calls("users.addContact", nobody).await.gist(), "{what}");
                    }
                }
            }
        }
    }
}
