//! What people set for all their devices: settings, privacy, and what they are at.

use crate::support::*;

stories! {
    async fn settings_reach_every_device_of_their_owner_and_nobody_else(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann, bob] = fleet[0].people(["ann", "bob"]).await;
        let pair = ann.meets(&bob).await;
        let (phone, laptop) = (ann.connects().await, ann.at(&fleet[1]).connects().await);
        let bobs = bob.connects().await;
        let user_rev = laptop.ready["userRev"].as_i64().unwrap();
        for door in ann.doors().await {
            let own = door.calls("users.getSettings", json!({})).await.ok();
            assert_eq!((&own["locale"], &own["theme"], &own["quiet"]), (&json!("en"), &json!("system"), &json!(false)));
            assert_eq!(door.calls("users.getPrivacy", json!({})).await.ok()["phoneNumber"], "nobody");
        }
        let quiet = json!({ "scheduled": true, "from": "00:00", "until": "00:00" });
        let change = json!({ "locale": "DE", "timeZone": "europe/berlin", "doNotDisturb": quiet });
        let own = phone.calls("users.updateSettings", change).await.ok();
        assert_eq!((&own["locale"], &own["timeZone"]), (&json!("de"), &json!("Europe/Berlin")));
        assert_eq!((&own["userRev"], &own["quiet"]), (&json!(user_rev + 1), &json!(true)));
        let told = laptop.takes("settings", |frame| frame["event"] == "settings.updated").await;
        assert_eq!((&told["userRev"], &told["data"]["settings"]["locale"]), (&json!(user_rev + 1), &json!("de")));

        let own = ann.calls("users.updatePrivacy", json!({ "called": "contacts" })).await.ok_with(200);
        assert_eq!((&own["called"], &own["bio"]), (&json!("contacts"), &json!("everyone")));
        let told = laptop.takes("privacy", |frame| frame["event"] == "settings.updated").await;
        assert_eq!((&told["userRev"], &told["data"]["privacy"]["called"]), (&json!(user_rev + 2), &json!("contacts")));
        let page = ann.own_changes(user_rev).await.ok();
        let item = &page["items"][0];
        assert_eq!((&item["type"], &item["userRev"]), (&json!("settings"), &json!(user_rev + 2)));
        assert_eq!((&item["settings"], &item["privacy"]), (&told["data"]["settings"], &told["data"]["privacy"]));

        ann.says_in(pair, "done").await;
        bobs.hears_said("done").await;
        assert!(!bobs.has_heard("settings.updated"));
    }

    async fn what_two_devices_change_at_once_is_all_kept(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let there = ann.at(&fleet[1]);
        for round in 0..5 {
            let theme = if round % 2 == 0 { "dark" } else { "light" };
            let hour = format!("1{round}:30");
            let (one, other) = tokio::join!(
                ann.calls("users.updateSettings", json!({ "theme": theme })),
                there.calls("users.updateSettings", json!({ "doNotDisturb": { "from": hour } })),
            );
            one.ok();
            other.ok();
            let own = ann.calls("users.getSettings", json!({})).await.ok();
            assert_eq!((&own["theme"], &own["doNotDisturb"]["from"]), (&json!(theme), &json!(hour)));
        }
    }

    async fn a_status_is_shown_until_it_is_over(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        for door in ann.doors().await {
            let status = json!({ "text": "at the sea", "emoji": "🏖️", "expiresInSecs": 60 });
            let own = door.calls("users.setStatus", status).await.ok_with(200)["status"].clone();
            assert_eq!((&own["text"], own["until"].is_string()), (&json!("at the sea"), true));
            let sees = async || bob.calls("users.getProfile", json!({ "userId": ann.id })).await.ok();
            assert_eq!(sees().await["status"], own);
            node.clock.advance(secs(60));
            assert_eq!(sees().await.get("status"), None);
            door.calls("users.setStatus", json!({ "emoji": "☕" })).await.ok();
            assert_eq!(sees().await["status"], json!({ "emoji": "☕" }));
            door.calls("users.setStatus", json!({})).await.ok();
            assert_eq!(sees().await.get("status"), None);
        }
    }

    async fn a_picture_is_set_and_taken_away(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let avatar = "01990000-0000-7000-8000-00000000a7a7";
        for door in ann.doors().await {
            let own = door.calls("users.updateProfile", json!({ "userId": "me", "avatarId": avatar })).await.ok();
            assert_eq!(own["avatarId"], avatar);
            let own = door.calls("users.updateProfile", json!({ "userId": "me", "bio": "Tea." })).await.ok();
            assert_eq!(own["avatarId"], avatar);
            assert_eq!(bob.calls("users.getProfile", json!({ "userId": ann.id })).await.ok()["avatarId"], avatar);
            let own = door.calls("users.updateProfile", json!({ "userId": "me", "avatarId": null })).await.ok();
            assert_eq!(own.get("avatarId"), None);
            let bad = door.calls("users.updateProfile", json!({ "userId": "me", "avatarId": "a picture" })).await;
            bad.is_refused_for(ErrorCode::RequestInvalid, "avatarId");
        }
    }

    async fn what_cannot_be_set_is_refused_by_name(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let past = "2020-01-01T00:00:00Z";
        let wrong = [
            ("users.updateSettings", json!({ "locale": "german" }), "locale"),
            ("users.updateSettings", json!({ "timeZone": "Europe/Bonn" }), "timeZone"),
            ("users.updateSettings", json!({ "theme": "pink" }), "theme"),
            ("users.updateSettings", json!({ "doNotDisturb": { "from": "25:00" } }), "doNotDisturb.from"),
            ("users.updateSettings", json!({ "doNotDisturb": { "days": ["someday"] } }), "doNotDisturb.days[0]"),
            ("users.updatePrivacy", json!({ "photo": "friends" }), "photo"),
            ("users.setStatus", json!({ "emoji": "smile" }), "emoji"),
            ("users.setStatus", json!({ "text": "x", "until": past }), "until"),
            ("users.setStatus", json!({ "text": "x", "expiresInSecs": 0 }), "expiresInSecs"),
        ];
        for door in ann.doors().await {
            for (command, data, field) in &wrong {
                door.calls(command, data.clone()).await.is_refused_for(ErrorCode::RequestInvalid, field);
            }
        }
        let own = ann.calls("users.getSettings", json!({})).await.ok();
        assert_eq!(own["userRev"], 0);
    }
}
