//! One-time codes beyond signing in by phone: by e-mail, for another address or number, and what they may cost.

use crate::support::answer::Answer;
use crate::support::*;

const MINUTE: Duration = secs(60);
const EMAIL: &str = "ann@example.org";

async fn asks(node: &Node, data: Value) -> Answer {
    node.says("auth.sendOtp", data).await
}

fn verification(answer: &Value) -> String {
    answer["verificationId"].as_str().unwrap().to_owned()
}

/// The code of a verification, which may go out after the answer.
async fn tries(node: &Node, verification: &str, code: &str) -> Answer {
    node.says("auth.verifyOtp", json!({ "verificationId": verification, "code": code })).await
}

/// Gives somebody an e-mail address.
async fn takes_email(person: &impl Speaks, node: &Node, email: &str) -> Answer {
    let sent = person.calls("auth.changeEmail", json!({ "email": email })).await.ok();
    let id = verification(&sent);
    let code = node.code_of(&id).await;
    person.calls("auth.verifyEmail", json!({ "verificationId": id, "code": code })).await
}

/// Asks for a code to another number; gives the verification and its code.
async fn asks_for_phone(person: &Person, phone: &str) -> (String, String) {
    let data = json!({ "phoneNumber": phone, "purpose": "changePhone" });
    let sent = person.calls("auth.sendOtp", data).await.ok();
    let id = verification(&sent);
    let code = person.node.code_of(&id).await;
    (id, code)
}

stories! {
    async fn an_e_mail_address_signs_in_whom_it_belongs_to_and_nobody_else(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        takes_email(&ann, &node, "Ann@Example.org").await.ok();

        let mut known = asks(&node, json!({ "email": "ann@EXAMPLE.org" })).await.ok_with(200);
        let id = verification(&known);
        let code = node.code_of(&id).await;
        let signed_in = tries(&node, &id, &code).await.ok_with(200);
        assert_eq!((&signed_in["isNewUser"], &signed_in["user"]["id"]), (&json!(false), &json!(ann.id)));
        assert_eq!(signed_in["user"]["email"], "Ann@example.org");

        let sent = node.letters.count();
        let mut unknown = asks(&node, json!({ "email": "bob@example.org" })).await.ok_with(200);
        let decoy = verification(&unknown);
        for answer in [&mut known, &mut unknown] {
            answer["verificationId"] = json!("");
        }
        assert_eq!(known, unknown);
        for _ in 0..3 {
            tries(&node, &decoy, &code).await.is_refused(ErrorCode::AuthOtpInvalid);
        }
        tries(&node, &decoy, &code).await.is_refused(ErrorCode::AuthOtpExhausted);
        // Nobody registers by this, and nothing was sent.
        assert_eq!(node.letters.count(), sent);
        for email in ["", "ann", "ann@localhost", "a b@example.org", "ann@example.org\r\nBcc: bob@example.org"] {
            asks(&node, json!({ "email": email })).await.is_refused_for(ErrorCode::RequestInvalid, "email");
        }
        let both = json!({ "email": EMAIL, "phoneNumber": ann.phone });
        asks(&node, both).await.is_refused_for(ErrorCode::RequestInvalid, "email");
    }

    async fn an_e_mail_address_is_changed_by_whoever_reads_there_and_every_device_sees_it(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let phone = ann.on_another_device().await;
        let before = phone.own_changes(0).await.ok()["nextUserRev"].as_i64().unwrap();
        let me = takes_email(&ann, &node, EMAIL).await.ok_with(200);
        assert_eq!(me["email"], EMAIL);
        let changes = phone.own_changes(before).await.ok();
        assert!(changes.to_string().contains(EMAIL), "{changes}");
        // The first address has no old one: whoever has the number is told.
        until("a text to the number", async || node.letters.notices(&ann.phone).len() == 1).await;

        // By the other door, another one; the old one is told.
        let socket = ann.connects().await;
        assert_eq!(takes_email(&socket, &node, "ann@new.example").await.ok()["email"], "ann@new.example");
        until("a letter to the old address", async || node.letters.notices(EMAIL).len() == 1).await;
        assert!(node.letters.notices("ann@new.example").is_empty());
        assert_eq!(node.letters.notices(EMAIL), ["Your QuckChat account has changed"]);

        // What another has is told only to whoever has the code; and only the asker's account takes it.
        let sent = bob.calls("auth.changeEmail", json!({ "email": "ANN@new.example" })).await.ok();
        let id = verification(&sent);
        let code = node.code_of(&id).await;
        let right = json!({ "verificationId": id, "code": code });
        ann.calls("auth.verifyEmail", right.clone()).await.is_refused(ErrorCode::AuthOtpExpired);
        bob.calls("auth.verifyEmail", right).await.is_refused(ErrorCode::AuthEmailTaken);
        assert!(bob.calls("users.getProfile", json!({ "userId": "me" })).await.ok().get("email").is_none());
        // Nobody else sees it.
        let seen = bob.calls("users.getProfile", json!({ "userId": ann.id })).await.ok();
        assert!(!seen.to_string().contains("ann@new.example"), "{seen}");
    }

    async fn two_who_take_one_address_at_once_do_not_both_have_it(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let mut given = Vec::new();
        for person in [&ann, &bob] {
            let sent = person.calls("auth.changeEmail", json!({ "email": EMAIL })).await.ok();
            let id = verification(&sent);
            given.push(json!({ "verificationId": id, "code": node.code_of(&id).await }));
        }
        let (one, other) = tokio::join!(
            ann.calls("auth.verifyEmail", given[0].clone()),
            bob.calls("auth.verifyEmail", given[1].clone()),
        );
        let (taken, refused) = if one.result.is_ok() { (one, other) } else { (other, one) };
        taken.ok();
        refused.is_refused(ErrorCode::AuthEmailTaken);
    }

    async fn a_number_is_changed_by_whoever_reads_there(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        takes_email(&ann, &node, EMAIL).await.ok();
        until("a text to the number", async || node.letters.notices(&ann.phone).len() == 1).await;
        let new = stage.phone_number();
        let (id, code) = asks_for_phone(&ann, &new).await;
        let right = json!({ "verificationId": id, "code": code });
        bob.calls("users.changePhone", right.clone()).await.is_refused(ErrorCode::AuthOtpExpired);
        let socket = ann.connects().await;
        let me = socket.calls("users.changePhone", right.clone()).await.ok();
        assert_eq!(me["phoneNumber"], new);
        ann.calls("users.changePhone", right).await.is_refused(ErrorCode::AuthOtpExpired);
        until("the old number and the address to be told", async || {
            node.letters.notices(&ann.phone).len() == 2 && node.letters.notices(EMAIL).len() == 1
        })
        .await;
        assert_eq!(Person::signs_in(&node, &new).await.ok()["user"]["id"], json!(ann.id));
        // The old number is free.
        assert_eq!(Person::signs_in(&node, &ann.phone).await.ok()["isNewUser"], true);

        let (id, code) = asks_for_phone(&bob, &new).await;
        let taken = bob.calls("users.changePhone", json!({ "verificationId": id, "code": code })).await;
        taken.is_refused(ErrorCode::AuthPhoneTaken);
        // A code for one thing is good for no other.
        let (id, code) = asks_for_phone(&bob, &stage.phone_number()).await;
        tries(&node, &id, &code).await.is_refused(ErrorCode::AuthOtpExpired);
    }

    async fn what_changes_how_one_signs_in_is_for_whoever_showed_who_they_are(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let (id, code) = asks_for_phone(&ann, &stage.phone_number()).await;
        let socket = ann.connects().await;
        node.clock.advance(5 * MINUTE - millis(1));
        let (other, _) = asks_for_phone(&ann, &stage.phone_number()).await;
        node.clock.advance(millis(1));
        let need = ErrorCode::AuthReauthenticationRequired;
        for door in [Door::Rest(ann.clone()), Door::Socket(socket)] {
            door.calls("auth.changeEmail", json!({ "email": EMAIL })).await.is_refused(need);
            let data = json!({ "verificationId": other, "code": code });
            door.calls("users.changePhone", data).await.is_refused(need);
        }
        let purpose = |purpose: &str, data: Value| {
            let mut data = data;
            data["purpose"] = json!(purpose);
            data
        };
        let phone = json!({ "phoneNumber": stage.phone_number() });
        ann.calls("auth.sendOtp", purpose("changePhone", phone.clone())).await.is_refused(need);
        ann.calls("auth.sendOtp", purpose("changeEmail", json!({ "email": EMAIL }))).await.is_refused(need);
        drop(id);

        // Nobody who has not signed in asks for these.
        for (what, data) in [("changePhone", phone.clone()), ("reauthenticate", json!({}))] {
            asks(&node, purpose(what, data)).await.is_refused(ErrorCode::AuthUnauthenticated);
        }
        // Whoever has signed in long ago does for this one: it goes to their own number, and to no other.
        let sent = ann.calls("auth.sendOtp", json!({ "purpose": "reauthenticate" })).await.ok();
        assert!(node.letters.code(&verification(&sent)).is_some());
        let elsewhere = ann.calls("auth.sendOtp", purpose("reauthenticate", phone.clone())).await;
        elsewhere.is_refused_for(ErrorCode::RequestInvalid, "phoneNumber");
        let by_mail = json!({ "purpose": "reauthenticate", "channel": "email" });
        ann.calls("auth.sendOtp", by_mail).await.is_refused_for(ErrorCode::RequestInvalid, "channel");

        let reset = asks(&node, purpose("resetPassword", phone.clone())).await;
        reset.is_refused_for(ErrorCode::RequestInvalid, "purpose");
        asks(&node, json!({})).await.is_refused_for(ErrorCode::RequestInvalid, "phoneNumber");
        for (what, data, field) in [
            ("signIn", json!({ "email": EMAIL, "channel": "sms" }), "channel"),
            ("signIn", json!({ "phoneNumber": "+4915112345678", "channel": "email" }), "channel"),
            ("register", json!({ "email": "nobody" }), "email"),
        ] {
            asks(&node, purpose(what, data)).await.is_refused_for(ErrorCode::RequestInvalid, field);
        }
        for data in [phone, json!({ "email": EMAIL })] {
            let sent = asks(&node, purpose("register", data)).await.ok();
            let id = verification(&sent);
            let code = node.letters.code(&id).unwrap();
            tries(&node, &id, &code).await.is_refused(ErrorCode::AuthOtpExpired);
        }
    }

    async fn an_address_asks_for_no_more_codes_than_its_budget(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
            config.auth.otp_per_address_per_hour = 3;
            config.auth.otp_per_address_per_day = 4;
        })
        .await;
        let from = async |address: &str| {
            let headers = [
                ("content-type", "application/json".to_owned()),
                ("x-forwarded-for", format!("198.51.100.1, {address}")),
            ];
            let body = json!({ "phoneNumber": stage.phone_number() }).to_string();
            let path = "/api/v1/auth/send-otp";
            node.requests(actix_web::http::Method::POST, path, &headers, body).await.answer()
        };
        for host in 1..=3 {
            from(&format!("2001:db8:7:8::{host}")).await.ok();
        }
        let refused = from("2001:db8:7:8:ffff::1").await.is_refused(ErrorCode::AuthOtpBudget);
        assert_eq!(refused["retryAfterMs"], 3_600_000);
        from("2001:db8:7:9::1").await.ok();
        from("203.0.113.7").await.ok();
        node.clock.advance(60 * MINUTE);
        from("2001:db8:7:8::1").await.ok();
        let refused = from("2001:db8:7:8::2").await.is_refused(ErrorCode::AuthOtpBudget);
        assert_eq!(refused["retryAfterMs"], 23 * 3_600_000);
    }

    async fn codes_go_where_the_operator_lets_them(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.auth.otp_countries = vec!["DE".to_owned()];
            config.auth.otp_per_country_per_day = 2;
        })
        .await;
        asks(&node, json!({ "phoneNumber": "+1 202-555-0143" })).await.is_refused(ErrorCode::AuthOtpCountry);
        for _ in 0..2 {
            asks(&node, json!({ "phoneNumber": stage.phone_number() })).await.ok();
        }
        let refused = asks(&node, json!({ "phoneNumber": stage.phone_number() })).await;
        assert!(refused.is_refused(ErrorCode::AuthOtpBudget)["retryAfterMs"].as_i64().unwrap() <= 86_400_000);
        assert_eq!(node.letters.count(), 2);
    }
}
