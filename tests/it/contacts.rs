//! Address books: by hand, by the numbers that somebody knows, and what each device of theirs learns of it.

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

stories! {
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
