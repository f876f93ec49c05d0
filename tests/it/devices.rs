//! Devices: what somebody calls from, the sessions that end with one, and push tokens that have one place.

use crate::support::*;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

async fn registers(door: &impl Speaks, id: &str, push: Value) -> Value {
    let data = json!({ "deviceId": id, "platform": "android", "name": format!("the {id}"), "push": push });
    door.calls("users.registerDevice", data).await.ok_with(200)
}

async fn devices(door: &impl Speaks) -> Vec<Value> {
    let listed = door.calls("users.listDevices", json!({})).await.ok();
    listed["items"].as_array().unwrap().clone()
}

/// Which devices a push reaches.
async fn reached(door: &impl Speaks) -> Vec<String> {
    let devices = devices(door).await.into_iter();
    let reached = devices.filter(|device| device.get("pushProvider").is_some());
    reached.map(|device| device["deviceId"].as_str().unwrap().to_owned()).collect()
}

fn fcm(token: &str) -> Value {
    json!({ "provider": "fcm", "token": token })
}

stories! {
    async fn devices_are_listed_renamed_and_removed(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        for (door, id) in ann.doors().await.into_iter().zip(["phone", "my tablet/2"]) {
            let data = json!({ "deviceId": id, "platform": "ios", "name": " Ann's ", "appVersion": "1.2" });
            let device = door.calls("users.registerDevice", data).await.ok();
            let expected = json!({
                "deviceId": id, "platform": "ios", "name": "Ann's", "appVersion": "1.2", "sessions": 1,
                "current": true, "registeredAt": device["registeredAt"], "lastSeenAt": device["lastSeenAt"],
            });
            assert_eq!(device, expected);
            let renamed = json!({ "deviceId": id, "name": "another" });
            assert_eq!(door.calls("users.renameDevice", renamed).await.ok()["name"], "another");
            let push = json!({ "deviceId": id, "push": { "provider": "apns", "token": "abc" }, "voipToken": "abc" });
            let device = door.calls("users.updatePushToken", push).await.ok();
            assert_eq!((&device["pushProvider"], &device["voipPush"]), (&json!("apns"), &json!(true)));
            let none = json!({ "deviceId": id });
            assert_eq!(door.calls("users.updatePushToken", none).await.ok().get("pushProvider"), None);
            for (command, data) in [
                ("users.renameDevice", json!({ "deviceId": "unknown", "name": "x" })),
                ("users.updatePushToken", json!({ "deviceId": "unknown" })),
                ("users.removeDevice", json!({ "deviceId": "unknown" })),
            ] {
                door.calls(command, data).await.is_refused(ErrorCode::DeviceNotFound);
            }
        }
        // The session is of the one that it registered last.
        let listed = devices(&ann).await;
        for device in &listed {
            assert_eq!(device["sessions"], i64::from(device["deviceId"] == "my tablet/2"));
        }
        assert!(!json!(listed).to_string().contains("abc"));
        ann.calls("users.removeDevice", json!({ "deviceId": "phone" })).await.ok_with(204);
        assert_eq!(devices(&ann).await.len(), 1);
    }

    async fn a_push_token_is_one_devices(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        registers(&ann, "old", fcm("token")).await;
        registers(&ann, "new", fcm("token")).await;
        assert_eq!(reached(&ann).await, ["new"]);
        // Somebody else signs in on that device.
        registers(&bob, "new", fcm("token")).await;
        assert_eq!((reached(&ann).await.len(), reached(&bob).await), (0, vec!["new".to_owned()]));
        // Another provider's token is another one, if it looks the same.
        registers(&ann, "new", json!({ "provider": "apns", "token": "token" })).await;
        assert_eq!((reached(&ann).await.len(), reached(&bob).await.len()), (1, 1));
        ann.calls("users.updatePushToken", json!({ "deviceId": "old", "push": fcm("token") })).await.ok();
        assert_eq!((reached(&ann).await.len(), reached(&bob).await.len()), (2, 0));
    }

    async fn a_phone_has_a_token_for_calls_beside_the_other_and_each_moves_by_itself(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let phone = |id: &str, token: Option<&str>, voip: Option<&str>| {
            let push = token.map(|token| json!({ "provider": "apns", "token": token }));
            json!({ "deviceId": id, "platform": "ios", "name": "a phone", "push": push, "voipToken": voip })
        };
        let reach = async |person: &Person| -> Vec<[bool; 2]> {
            let has = |device: &Value, field: &str| device.get(field).is_some();
            let listed = devices(person).await;
            listed.iter().map(|device| [has(device, "pushProvider"), has(device, "voipPush")]).collect()
        };
        for (annas, bobs) in ann.doors().await.into_iter().zip(bob.doors().await) {
            // The same text is another token to another service.
            annas.calls("users.registerDevice", phone("phone", Some("t"), Some("t"))).await.ok();
            assert_eq!(reach(&ann).await, [[true, true]]);
            // Somebody else signs in on that phone, and PushKit has not answered yet.
            bobs.calls("users.registerDevice", phone("phone", Some("t"), None)).await.ok();
            assert_eq!((reach(&ann).await, reach(&bob).await), (vec![[false, true]], vec![[true, false]]));
            let both = json!({ "deviceId": "phone", "push": { "provider": "apns", "token": "t" }, "voipToken": "t" });
            bobs.calls("users.updatePushToken", both).await.ok();
            assert_eq!((reach(&ann).await, reach(&bob).await), (vec![[false, false]], vec![[true, true]]));
            annas.calls("users.registerDevice", phone("phone", None, Some("t"))).await.ok();
            assert_eq!((reach(&ann).await, reach(&bob).await), (vec![[false, true]], vec![[true, false]]));
            for (push, voip) in [
                (json!(null), ""),
                (json!(null), &*"x".repeat(2_049)),
                (json!({ "provider": "web_push", "token": "https://push.example.org/a", "keys": {
                    "p256dh": URL_SAFE_NO_PAD.encode([&[4][..], &[7; 64]].concat()), "auth": URL_SAFE_NO_PAD.encode([1; 16]),
                } }), "t"),
            ] {
                let update = json!({ "deviceId": "phone", "push": push, "voipToken": voip });
                annas.calls("users.updatePushToken", update).await.is_refused_for(ErrorCode::RequestInvalid, "voipToken");
            }
        }
    }

    async fn a_browser_brings_an_https_endpoint_and_its_keys(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let point = URL_SAFE_NO_PAD.encode([&[4][..], &[7; 64]].concat());
        let (short, compressed) = (URL_SAFE_NO_PAD.encode([4; 64]), URL_SAFE_NO_PAD.encode([2; 65]));
        let secret = URL_SAFE_NO_PAD.encode([1; 16]);
        let url = "https://push.example.org/send/abc";
        let web = |token: &str, p256dh: &str, auth: &str| {
            json!({ "provider": "web_push", "token": token, "keys": { "p256dh": p256dh, "auth": auth } })
        };
        let push = |push: Value| json!({ "deviceId": "browser", "platform": "web", "name": "Firefox", "push": push });
        for door in ann.doors().await {
            let device = door.calls("users.registerDevice", push(web(url, &point, &secret))).await.ok();
            assert_eq!(device["pushProvider"], "web_push");
            for (bad, field) in [
                (web("http://push.example.org/send/abc", &point, &secret), "push.token"),
                (web("https://ann:pw@push.example.org/", &point, &secret), "push.token"),
                (web("abc", &point, &secret), "push.token"),
                (web("", &point, &secret), "push.token"),
                (web(&format!("https://push.example.org/{}", "x".repeat(2_048)), &point, &secret), "push.token"),
                (web(url, &short, &secret), "push.keys.p256dh"),
                (web(url, &compressed, &secret), "push.keys.p256dh"),
                (web(url, "?", &secret), "push.keys.p256dh"),
                (web(url, &point, &URL_SAFE_NO_PAD.encode([1; 15])), "push.keys.auth"),
                (json!({ "provider": "web_push", "token": url }), "push.keys"),
                (json!({ "provider": "fcm", "token": "t", "keys": { "p256dh": point, "auth": secret } }), "push.keys"),
                (json!({ "provider": "smoke", "token": "t" }), "push.provider"),
            ] {
                door.calls("users.registerDevice", push(bad.clone())).await.is_refused_for(ErrorCode::RequestInvalid, field);
                let update = json!({ "deviceId": "browser", "push": bad });
                door.calls("users.updatePushToken", update).await.is_refused_for(ErrorCode::RequestInvalid, field);
            }
            for (data, field) in [
                (json!({ "deviceId": "", "platform": "ios", "name": "x" }), "deviceId"),
                (json!({ "deviceId": "x", "platform": "toaster", "name": "x" }), "platform"),
                (json!({ "deviceId": "x", "platform": "ios", "name": " " }), "name"),
                (json!({ "deviceId": "x", "platform": "ios", "name": "x", "appVersion": "" }), "appVersion"),
            ] {
                door.calls("users.registerDevice", data).await.is_refused_for(ErrorCode::RequestInvalid, field);
            }
        }
    }

    async fn one_has_no_more_devices_than_one_may(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.devices = 2).await;
        let [ann] = node.people(["ann"]).await;
        registers(&ann, "lost", json!(null)).await;
        node.clock.advance(secs(60));
        registers(&ann, "sold", json!(null)).await;
        node.clock.advance(secs(60));
        // Her one session is of the newest: the one that was away longest gives way.
        registers(&ann, "phone", json!(null)).await;
        let names: Vec<Value> = devices(&ann).await.iter().map(|device| device["deviceId"].clone()).collect();
        assert_eq!(names, ["sold", "phone"]);
        let laptop = ann.on_another_device().await;
        registers(&laptop, "sold", json!(null)).await;
        let tablet = ann.on_another_device().await;
        let third = json!({ "deviceId": "tablet", "platform": "ios", "name": "x" });
        tablet.calls("users.registerDevice", third).await.is_refused(ErrorCode::DeviceTooMany);
        assert_eq!(devices(&ann).await.len(), 2);
    }
}

fleet_stories! {
    async fn a_removed_device_is_signed_out_at_every_node(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let phone = ann.on_another_device().await.at(&fleet[1]);
        registers(&ann, "laptop", json!(null)).await;
        registers(&phone, "phone", fcm("t")).await;
        let (laptops, phones) = (ann.connects().await, phone.connects().await);
        ann.calls("users.removeDevice", json!({ "deviceId": "phone" })).await.ok_with(204);
        assert_eq!(phones.is_closed().await, 4403);
        phone.spends(&phone.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
        fleet.clock.advance(secs(1));
        phone.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
        laptops.is_served().await;
        laptops.stays_open();
        let listed = devices(&ann).await;
        assert_eq!((listed.len(), &listed[0]["deviceId"]), (1, &json!("laptop")));
    }

    async fn a_push_token_that_many_bring_at_once_is_one_devices(stage: Stage) {
        let fleet = Fleet::in_real_time(&stage, 2).await;
        let people = fleet[0].people(["ann", "bob", "cid"]).await;
        for round in 0..3 {
            let wish = |at: usize| {
                let person = people[at % 3].at(&fleet[at % 2]);
                // Of one device two tokens, in either place.
                let (token, voip) = (format!("token {}", round % 2), format!("voip {}", round % 2));
                let data = json!({
                    "deviceId": format!("device {at}"), "platform": "ios", "name": "x", "push": fcm(&token),
                    "voipToken": voip,
                });
                async move { person.calls("users.registerDevice", data).await.ok() }
            };
            futures_util::future::join_all((0..12).map(wish)).await;
            let mut reachable = 0;
            for person in &people {
                reachable += reached(person).await.len();
            }
            assert_eq!(reachable, 1, "in round {round}");
        }
    }
}
