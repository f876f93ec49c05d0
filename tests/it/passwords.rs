//! Passwords: registering with one, signing in, changing it, and what becomes of one that was forgotten.

use crate::support::answer::Answer;
use crate::support::*;
use actix_web::http::Method;

const MINUTE: Duration = secs(60);
const NUMBER: &str = "+4915112345678";

/// A verification for a purpose, and its code.
async fn sent(node: &Node, number: &str, purpose: &str) -> (String, String) {
    let data = json!({ "phoneNumber": number, "purpose": purpose });
    sent_with(node, node.says("auth.sendOtp", data).await).await
}

/// The same for somebody who has signed in, to show again who they are: it goes to what their account has.
async fn sent_to(person: &Person) -> (String, String) {
    let data = json!({ "purpose": "reauthenticate" });
    sent_with(&person.node, person.calls("auth.sendOtp", data).await).await
}

async fn sent_with(node: &Node, sent: Answer) -> (String, String) {
    let verification = sent.ok_with(200)["verificationId"].as_str().unwrap().to_owned();
    let code = node.code_of(&verification).await;
    (verification, code)
}

async fn registers(node: &Node, number: &str, more: Value) -> Answer {
    let (verification, code) = sent(node, number, "register").await;
    registers_with(node, &verification, &code, more).await
}

async fn registers_with(node: &Node, verification: &str, code: &str, more: Value) -> Answer {
    let mut data = json!({ "verificationId": verification, "code": code, "password": GOOD });
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    node.says("auth.register", data).await
}

/// Ann, who has a password and a username.
async fn ann(node: &Node) -> Person {
    let reply = registers(node, NUMBER, json!({ "username": "Ann_B", "displayName": "Ann" })).await.ok_with(200);
    Person::of(node, "ann", NUMBER, &reply)
}

async fn logs_in(node: &Node, identifier: &str, password: &str) -> Answer {
    node.says("auth.login", json!({ "identifier": identifier, "password": password })).await
}

/// Ann on another device.
async fn another(node: &Node) -> Person {
    Person::of(node, "ann", NUMBER, &logs_in(node, "ann_b", GOOD).await.ok_with(200))
}

stories! {
    async fn who_registers_with_a_password_signs_in_by_number_and_name(stage: Stage) {
        let node = Node::start(&stage).await;
        let more = json!({ "username": "Ann_B", "displayName": " Ann ", "locale": "de", "device": { "name": "a phone" } });
        let reply = registers(&node, NUMBER, more).await.ok_with(200);
        assert_eq!(reply["isNewUser"], true);
        let user = &reply["user"];
        assert_eq!((&user["phoneNumber"], &user["username"]), (&json!(NUMBER), &json!("Ann_B")));
        assert_eq!(user["displayName"], "Ann");
        for identifier in [NUMBER, " +49 (0)151 12345678 ", "Ann_B", "ann_b"] {
            let again = logs_in(&node, identifier, GOOD).await.ok_with(200);
            assert_eq!((&again["user"]["id"], &again["isNewUser"]), (&user["id"], &json!(false)), "{identifier}");
            assert_ne!(again["sessionId"], reply["sessionId"]);
        }
        // A code still signs in, by either command.
        Person::signs_in(&node, NUMBER).await.ok();
        let (verification, code) = sent(&node, NUMBER, "signIn").await;
        let by_code = node.says("auth.login", json!({ "verificationId": verification, "code": code })).await.ok();
        assert_eq!(by_code["user"]["id"], user["id"]);
    }

    async fn who_registers_with_an_e_mail_address_signs_in_by_it(stage: Stage) {
        let node = Node::start(&stage).await;
        let asks = async |purpose: &str, email: &str| {
            let data = json!({ "email": email, "purpose": purpose });
            sent_with(&node, node.says("auth.sendOtp", data).await).await
        };
        let (verification, code) = asks("register", "Ann@Example.org").await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        registers_with(&node, &verification, wrong, json!({})).await.is_refused(ErrorCode::AuthOtpInvalid);
        let reply = registers_with(&node, &verification, &code, json!({ "displayName": "Ann" })).await.ok_with(200);
        let user = &reply["user"];
        assert_eq!((&reply["isNewUser"], &user["email"]), (&json!(true), &json!("Ann@example.org")));
        assert!(user.get("phoneNumber").is_none(), "{user}");
        Person::of(&node, "ann", "", &reply).opens_list().await.ok();
        for spelt in ["Ann@Example.org", " ann@example.ORG "] {
            assert_eq!(logs_in(&node, spelt, GOOD).await.ok_with(200)["user"]["id"], user["id"], "{spelt}");
        }
        let (sign_in, code) = asks("signIn", "ANN@example.org").await;
        let by_code = node.says("auth.verifyOtp", json!({ "verificationId": sign_in, "code": code })).await.ok();
        assert_eq!((&by_code["user"]["id"], &by_code["isNewUser"]), (&user["id"], &json!(false)));
        // The address is somebody's now, however it is spelt.
        let (again, code) = asks("register", "ann@example.org").await;
        registers_with(&node, &again, &code, json!({})).await.is_refused(ErrorCode::AuthAccountExists);
    }

    async fn who_registers_is_told_of_to_those_who_have_the_number(stage: Stage) {
        let node = Node::start(&stage).await;
        let [bob] = node.people(["bob"]).await;
        let socket = bob.connects().await;
        let listed = json!({ "contacts": [{ "phoneNumber": NUMBER, "name": "Ann from school" }] });
        bob.calls("users.syncContacts", listed).await.ok();
        let ann = ann(&node).await;
        let told = socket.hears("contact.updated").await;
        assert_eq!((&told["data"]["userId"], &told["data"]["name"]), (&json!(ann.id), &json!("Ann from school")));
    }

    async fn a_language_is_one_by_whatever_command_it_is_said(stage: Stage) {
        let node = Node::start(&stage).await;
        let reply = registers(&node, NUMBER, json!({ "locale": "PT-br" })).await.ok_with(200);
        let ann = Person::of(&node, "ann", NUMBER, &reply);
        assert_eq!(ann.calls("users.getSettings", json!({})).await.ok()["locale"], "pt-BR");
        for (command, data) in [
            ("auth.sendOtp", json!({ "phoneNumber": NUMBER, "locale": "german" })),
            ("auth.forgotPassword", json!({ "identifier": NUMBER, "locale": "de_DE" })),
        ] {
            node.says(command, data).await.is_refused_for(ErrorCode::RequestInvalid, "locale");
        }
        let data = json!({ "email": "ann@example.org", "locale": "german" });
        ann.calls("auth.changeEmail", data).await.is_refused_for(ErrorCode::RequestInvalid, "locale");
        registers(&node, "+4915187654321", json!({ "locale": "<b>" }))
            .await
            .is_refused_for(ErrorCode::RequestInvalid, "locale");
    }

    async fn a_wrong_password_and_an_unknown_account_get_the_same_answer(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = ann(&node).await;
        let [bob] = node.people(["bob"]).await;
        let wrong = logs_in(&node, "ann_b", BETTER).await;
        wrong.is_refused(ErrorCode::AuthCredentialsInvalid);
        let gist = wrong.gist();
        // Bob has an account without a password.
        for identifier in [bob.phone.as_str(), "+4915187654321", "nobody", "nobody@example.com"] {
            assert_eq!(logs_in(&node, identifier, GOOD).await.gist(), gist, "{identifier}");
        }
        for identifier in ["", "+49", "an", "1ann", "@", "ann b", &"a".repeat(255)] {
            logs_in(&node, identifier, GOOD).await.is_refused_for(ErrorCode::RequestInvalid, "identifier");
        }
        logs_in(&node, "ann_b", &"a".repeat(129)).await.is_refused_for(ErrorCode::RequestInvalid, "password");
        let half = node.says("auth.login", json!({ "identifier": "ann_b" })).await;
        half.is_refused_for(ErrorCode::RequestInvalid, "password");
        ann.opens_list().await.ok();
    }

    async fn a_weak_password_is_refused_with_the_reason_and_costs_no_code(stage: Stage) {
        let node = Node::start(&stage).await;
        let (verification, code) = sent(&node, NUMBER, "register").await;
        for (weak, reason) in [
            ("short", "at least 8 characters"),
            ("password1", "common"),
            ("Wolodymyr7", "easy to guess"),
            ("4915112345678", "easy to guess"),
        ] {
            let more = json!({ "username": "wolodymyr", "password": weak });
            let answer = registers_with(&node, &verification, &code, more).await;
            let refused = answer.is_refused_for(ErrorCode::AuthPasswordWeak, "password");
            assert!(refused["detail"].as_str().unwrap().contains(reason), "{refused}");
        }
        let reply = registers_with(&node, &verification, &code, json!({ "username": "wolodymyr" })).await.ok();
        let ann = Person::of(&node, "ann", NUMBER, &reply);
        let weak = ann.calls("auth.changePassword", json!({ "newPassword": "wolodymyr!" })).await;
        weak.is_refused_for(ErrorCode::AuthPasswordWeak, "newPassword");
        logs_in(&node, NUMBER, GOOD).await.ok();
    }

    async fn only_who_has_the_code_hears_that_there_is_an_account(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = ann(&node).await;
        let (verification, code) = sent(&node, NUMBER, "register").await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        registers_with(&node, &verification, wrong, json!({})).await.is_refused(ErrorCode::AuthOtpInvalid);
        registers_with(&node, &verification, &code, json!({})).await.is_refused(ErrorCode::AuthAccountExists);
        // A code for another purpose is none.
        let (sign_in, code) = sent(&node, "+4915187654321", "signIn").await;
        registers_with(&node, &sign_in, &code, json!({})).await.is_refused(ErrorCode::AuthOtpExpired);
        let (register, code) = sent(&node, "+4915187654321", "register").await;
        let data = json!({ "verificationId": register, "code": code });
        node.says("auth.verifyOtp", data).await.is_refused(ErrorCode::AuthOtpExpired);
        registers_with(&node, &register, &code, json!({ "username": "ann_b" }))
            .await
            .is_refused(ErrorCode::UserUsernameTaken);
        registers_with(&node, &register, &code, json!({ "username": "bob" })).await.ok();
        registers_with(&node, &register, &code, json!({})).await.is_refused(ErrorCode::AuthOtpExpired);
        ann.opens_list().await.ok();
    }

    async fn two_who_register_at_once_do_not_share_a_number_or_a_name(stage: Stage) {
        let node = Node::start(&stage).await;
        let (one, other) = (sent(&node, NUMBER, "register").await, sent(&node, NUMBER, "register").await);
        let [first, second] = {
            let (first, second) = futures_util::future::join(
                registers_with(&node, &one.0, &one.1, json!({ "username": "ann" })),
                registers_with(&node, &other.0, &other.1, json!({ "username": "anna" })),
            )
            .await;
            [first, second]
        };
        let refused = if first.result.is_ok() { second } else { first };
        refused.is_refused(ErrorCode::AuthAccountExists);

        let numbers = ["+4915187654321", "+4915187654322"];
        let (one, other) = (sent(&node, numbers[0], "register").await, sent(&node, numbers[1], "register").await);
        let (first, second) = futures_util::future::join(
            registers_with(&node, &one.0, &one.1, json!({ "username": "Same" })),
            registers_with(&node, &other.0, &other.1, json!({ "username": "same" })),
        )
        .await;
        let refused = if first.result.is_ok() { second } else { first };
        refused.is_refused(ErrorCode::UserUsernameTaken);
    }

    async fn a_changed_password_ends_the_other_sessions(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = ann(&node).await;
        let laptop = another(&node).await;
        let (anns, laptops) = (ann.connects().await, laptop.connects().await);
        ann.calls("auth.changePassword", json!({ "newPassword": BETTER, "keepSessions": true })).await.ok_with(204);
        laptops.is_served().await;
        laptop.opens_list().await.ok();

        // At the socket, too.
        anns.calls("auth.changePassword", json!({ "newPassword": GOOD })).await.ok();
        assert_eq!(laptops.is_closed().await, 4403);
        laptop.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
        laptop.spends(&laptop.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
        anns.is_served().await;
        ann.refreshes().await;
        logs_in(&node, "ann_b", BETTER).await.is_refused(ErrorCode::AuthCredentialsInvalid);
        logs_in(&node, "ann_b", GOOD).await.ok();
    }

    async fn only_who_showed_who_they_are_sets_a_password(stage: Stage) {
        let node = Node::start(&stage).await;
        let [bob] = node.people(["bob"]).await;
        node.clock.advance(5 * MINUTE);
        let first = json!({ "newPassword": GOOD });
        for door in bob.doors().await {
            let answer = door.calls("auth.changePassword", first.clone()).await;
            answer.is_refused(ErrorCode::AuthReauthenticationRequired);
        }
        // Bob has no password yet: a code says who he is, if it was sent to him for that.
        bob.calls("auth.reauthenticate", json!({})).await.is_refused_for(ErrorCode::RequestInvalid, "verificationId");
        let (sign_in, code) = sent(&node, &bob.phone, "signIn").await;
        let data = json!({ "verificationId": sign_in, "code": code });
        bob.calls("auth.reauthenticate", data).await.is_refused(ErrorCode::AuthOtpExpired);
        let [mallory] = node.people(["mallory"]).await;
        let (mallorys, code) = sent_to(&mallory).await;
        let data = json!({ "verificationId": mallorys, "code": code });
        bob.calls("auth.reauthenticate", data).await.is_refused(ErrorCode::AuthOtpExpired);
        let (own, code) = sent_to(&bob).await;
        let shown = bob.calls("auth.reauthenticate", json!({ "verificationId": own, "code": code })).await.ok_with(200);
        assert!(shown["freshUntil"].is_string());
        bob.calls("auth.changePassword", first.clone()).await.ok_with(204);

        // Now he has one, and is asked for it.
        node.clock.advance(5 * MINUTE);
        bob.refreshes().await;
        bob.calls("auth.changePassword", first.clone()).await.is_refused(ErrorCode::AuthReauthenticationRequired);
        bob.calls("auth.reauthenticate", json!({})).await.is_refused_for(ErrorCode::RequestInvalid, "password");
        let wrong = bob.calls("auth.reauthenticate", json!({ "password": BETTER })).await;
        wrong.is_refused(ErrorCode::AuthCredentialsInvalid);
        bob.calls("auth.reauthenticate", json!({ "password": GOOD })).await.ok();
        bob.calls("auth.changePassword", json!({ "newPassword": BETTER })).await.ok();
    }

    async fn who_guesses_at_a_found_device_waits_there_and_nowhere_else(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = ann(&node).await;
        let laptop = another(&node).await;
        for at in 0..9 {
            let answer = laptop.calls("auth.reauthenticate", json!({ "password": BETTER })).await;
            match at {
                0..6 => drop(answer.is_refused(ErrorCode::AuthCredentialsInvalid)),
                _ => assert_eq!(answer.is_refused(ErrorCode::AuthTooManyTries)["retryAfterMs"], 1000),
            }
        }
        ann.calls("auth.reauthenticate", json!({ "password": GOOD })).await.ok();
        logs_in(&node, "ann_b", GOOD).await.ok();
        node.clock.advance(secs(1));
        laptop.calls("auth.reauthenticate", json!({ "password": GOOD })).await.ok();
    }

    async fn a_forgotten_password_is_set_anew_by_a_code_and_every_session_ends(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = ann(&node).await;
        let laptop = another(&node).await;
        let (anns, laptops) = (ann.connects().await, laptop.connects().await);
        let asks = async |identifier: &str| node.says("auth.forgotPassword", json!({ "identifier": identifier })).await;
        let (verification, code) = sent_with(&node, asks(NUMBER).await).await;
        let sets = async |code: &str, password: &str| {
            let data = json!({ "verificationId": verification, "code": code, "newPassword": password });
            node.says("auth.resetPassword", data).await
        };
        let wrong = if code == "000000" { "000001" } else { "000000" };
        sets(wrong, BETTER).await.is_refused(ErrorCode::AuthOtpInvalid);
        sets(&code, "password1").await.is_refused_for(ErrorCode::AuthPasswordWeak, "newPassword");
        anns.is_served().await;
        let done = sets(&code, BETTER).await.ok_with(204);
        assert_eq!(done, Value::Null, "nobody is signed in by it");
        assert_eq!((anns.is_closed().await, laptops.is_closed().await), (4403, 4403));
        for device in [&ann, &laptop] {
            device.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
            device.spends(&device.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
        }
        sets(&code, GOOD).await.is_refused(ErrorCode::AuthOtpExpired);
        logs_in(&node, "ann_b", GOOD).await.is_refused(ErrorCode::AuthCredentialsInvalid);
        logs_in(&node, "ann_b", BETTER).await.ok();
    }

    async fn whose_password_was_forgotten_is_not_told(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = ann(&node).await;
        let asks = async |identifier: &str| node.says("auth.forgotPassword", json!({ "identifier": identifier })).await;
        let before = node.letters.count();
        let mut known = asks(&ann.phone).await.ok_with(200);
        let mut unknown = asks("+4915187654321").await.ok_with(200);
        let theirs = unknown["verificationId"].as_str().unwrap().to_owned();
        for answer in [&mut known, &mut unknown] {
            assert_eq!(answer["verificationId"].as_str().unwrap().len(), 22);
            answer["verificationId"] = json!("");
        }
        assert_eq!(known, unknown);
        let data = json!({ "verificationId": theirs, "code": "123456", "newPassword": BETTER });
        node.says("auth.resetPassword", data).await.is_refused(ErrorCode::AuthOtpInvalid);
        until("the one code to leave", async || node.letters.count() > before).await;
        assert_eq!(node.letters.count(), before + 1);
        // Both are asked for as often as anybody may.
        for number in [ann.phone.as_str(), "+4915187654321"] {
            while asks(number).await.result.is_ok() {}
            asks(number).await.is_refused(ErrorCode::AuthOtpBudget);
        }
        for identifier in ["ann_b", "nobody", "+49"] {
            asks(identifier).await.is_refused_for(ErrorCode::RequestInvalid, "identifier");
        }
    }

    async fn a_browser_that_signs_in_with_a_password_keeps_its_refresh_token_in_a_cookie(stage: Stage) {
        let node = Node::start(&stage).await;
        let (verification, code) = sent(&node, NUMBER, "register").await;
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("x-quckchat-session", "cookie".to_owned()),
            ("origin", "http://localhost:3000".to_owned()),
        ];
        for (path, body) in [
            ("register", json!({ "verificationId": verification, "code": code, "password": GOOD })),
            ("login", json!({ "identifier": NUMBER, "password": GOOD })),
        ] {
            let path = format!("/api/v1/auth/{path}");
            let reply = node.requests(Method::POST, &path, &headers, body.to_string()).await;
            let cookie = reply.header("set-cookie").unwrap().to_owned();
            assert!(cookie.starts_with("quckchat_refresh=") && cookie.contains("HttpOnly"), "{cookie}");
            let signed_in = reply.answer().ok();
            assert!(signed_in.get("refreshToken").is_none() && signed_in["accessToken"].is_string());
        }
    }
}
