//! What people say of themselves, and how others find them.

use crate::support::*;

async fn says(door: &impl Speaks, field: &str, value: &str) -> Value {
    door.calls("users.updateProfile", json!({ "userId": "me", field: value })).await.ok_with(200)
}

async fn finds(door: &impl Speaks, q: &str) -> Vec<Value> {
    let page = door.calls("users.search", json!({ "q": q })).await.ok();
    page["items"].as_array().unwrap().iter().map(|user| user["displayName"].clone()).collect()
}

stories! {
    async fn a_profile_is_seen_by_others_but_for_the_phone_number(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        for (at, door) in ann.doors().await.into_iter().enumerate() {
            says(&door, "displayName", "Änn").await;
            says(&door, "username", &format!("Ann_{at}")).await;
            let own = says(&door, "bio", "Tea.").await;
            assert_eq!((&own["displayName"], &own["bio"]), (&json!("Änn"), &json!("Tea.")));
            assert_eq!((&own["username"], &own["phoneNumber"]), (&json!(format!("Ann_{at}")), &json!(ann.phone)));
            for other in bob.doors().await {
                let seen = other.calls("users.getProfile", json!({ "userId": ann.id })).await.ok();
                let mut expected = own.clone();
                expected.as_object_mut().unwrap().remove("phoneNumber");
                assert_eq!(seen, expected);
                let nobody = json!({ "userId": "01990000-0000-7000-8000-000000000001" });
                other.calls("users.getProfile", nobody).await.is_refused(ErrorCode::UserNotFound);
            }
            assert!(says(&door, "bio", "").await.get("bio").is_none());
        }
    }

    async fn a_username_is_one_persons_whatever_its_case(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        says(&ann, "username", "Tea.Time").await;
        for door in bob.doors().await {
            for taken in ["Tea.Time", "tea.time", "TEA.TIME"] {
                let answer = door.calls("users.updateProfile", json!({ "userId": "me", "username": taken })).await;
                answer.is_refused(ErrorCode::UserUsernameTaken);
            }
        }
        assert_eq!(says(&ann, "username", "tea.TIME").await["username"], "tea.TIME");
        says(&ann, "username", "coffee").await;
        says(&bob, "username", "tea.time").await;
    }

    async fn a_name_that_two_want_at_once_is_one_persons(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let bob = bob.at(&fleet[1]);
        let wants = json!({ "userId": "me", "username": "tea" });
        let wish = |person: &Person| {
            let (person, wants) = (person.clone(), wants.clone());
            async move { person.calls("users.updateProfile", wants).await }
        };
        let (one, other) = tokio::join!(wish(&ann), wish(&bob));
        let refused: Vec<Value> = [one, other].into_iter().filter_map(|answer| answer.result.err()).collect();
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0]["code"], ErrorCode::UserUsernameTaken.as_str());
    }

    async fn people_are_found_by_how_their_names_begin(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, cid] = node.people(["Änn Baker", "bob", "Cid_100%"]).await;
        says(&bob, "username", "Anna.B").await;
        for door in cid.doors().await {
            assert_eq!(finds(&door, "änn").await, ["Änn Baker"]);
            assert_eq!(finds(&door, "ÄNN B").await, ["Änn Baker"]);
            assert_eq!(finds(&door, "ANNA").await, ["bob"]);
            assert_eq!(finds(&door, "baker").await, [] as [Value; 0]);
            assert_eq!(finds(&door, "%%%").await, [] as [Value; 0]);
            assert_eq!(finds(&door, "cid_100%").await, ["Cid_100%"]);
            assert_eq!(finds(&door, "___").await, [] as [Value; 0]);
            assert_eq!(finds(&door, "'; --").await, [] as [Value; 0]);
        }
        let found = cid.calls("users.search", json!({ "q": "änn" })).await.ok();
        assert_eq!((&found["items"][0]["id"], found["items"][0].get("phoneNumber")), (&json!(ann.id), None));
        // A number is found whole, and as a number.
        assert_eq!(finds(&cid, &ann.phone).await, ["Änn Baker"]);
        assert_eq!(finds(&cid, &ann.phone[1..]).await, [] as [Value; 0]);
        let part = cid.calls("users.search", json!({ "q": &ann.phone[..8] })).await;
        part.is_refused_for(ErrorCode::RequestInvalid, "q");
    }

    async fn a_search_comes_in_pages(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, ..] = node.people(["tea one", "tea two", "tea three", "tea four", "tea five"]).await;
        let (mut query, mut found) = (json!({ "q": "tea", "limit": 2 }), Vec::new());
        loop {
            let page = ann.calls("users.search", query).await.ok();
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            found.extend(items.iter().map(|user| user["id"].clone()));
            let Some(cursor) = page.get("nextCursor") else { break };
            query = json!({ "q": "tea", "limit": 2, "cursor": cursor });
        }
        assert_eq!(found.len(), 5);
        found.sort_by_key(ToString::to_string);
        found.dedup();
        assert_eq!(found.len(), 5);
        let bad = ann.calls("users.search", json!({ "q": "tea", "cursor": "nonsense" })).await;
        bad.is_refused_for(ErrorCode::RequestInvalid, "cursor");
    }

    async fn ones_own_devices_hear_of_a_new_profile(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        ann.meets(&bob).await;
        let (phone, laptop, bobs) = (ann.connects().await, ann.connects().await, bob.connects().await);
        let user_rev = laptop.ready["userRev"].as_i64().unwrap();
        says(&phone, "bio", "Tea.").await;
        let told = laptop.hears("profile.updated").await;
        assert_eq!((&told["userRev"], &told["data"]["bio"]), (&json!(user_rev + 1), &json!("Tea.")));
        assert_eq!(told["data"]["phoneNumber"], json!(ann.phone));
        let page = ann.own_changes(user_rev).await.ok();
        assert_eq!((&page["items"][0]["type"], &page["items"][0]["user"]), (&json!("profile"), &told["data"]));
        bobs.is_served().await;
        assert!(!bobs.has_heard("profile.updated"));
    }

    async fn an_operator_may_change_anybodys_profile(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let bobs = bob.connects().await;
        let change = json!({ "userId": bob.id, "bio": "by an operator" });
        for (word, allowed) in [("grant", true), ("revoke", false)] {
            let done = process::runs(&stage, &["admin", word, &ann.id.to_string(), "operator"], &[]).await;
            assert!(done.status.success(), "{}", done.log);
            for door in ann.doors().await {
                let answer = door.calls("users.updateProfile", change.clone()).await;
                match allowed {
                    true => assert_eq!(answer.ok()["bio"], "by an operator"),
                    false => drop(answer.is_refused(ErrorCode::AuthForbidden)),
                }
            }
        }
        assert_eq!(bobs.hears("profile.updated").await["data"]["bio"], "by an operator");
    }
}
