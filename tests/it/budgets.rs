//! What codes may cost: strangers who use a contact's up, its owner, who gets one all the same, and carriers that are away.

use crate::support::answer::Answer;
use crate::support::speech::says;
use crate::support::*;

const NUMBER: &str = "+4915112345678";
const EMAIL: &str = "ann@example.org";
const GOOD: &str = "four lamps over Trondheim";
const BETTER: &str = "seven kettles under Bergen";
const HOME: &str = "198.51.100.7";
const OFFICE: &str = "2001:db8:1:2::1";
const HOTEL: &str = "192.0.2.1";

async fn behind_a_proxy(stage: &Stage) -> Node {
    Node::start_with(stage, |config| config.gateway.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]).await
}

async fn asks(node: &Node, from: &str, contact: Value) -> Answer {
    says(node, from, "send-otp", contact).await
}

async fn forgets(node: &Node, from: &str, identifier: &str) -> Answer {
    says(node, from, "forgot-password", json!({ "identifier": identifier })).await
}

/// The verification that was answered, and its code, which may leave after the answer.
async fn code_of(node: &Node, answer: Answer) -> Value {
    let verification = answer.ok()["verificationId"].as_str().unwrap().to_owned();
    until("the code to leave", async || node.letters.code(&verification).is_some()).await;
    json!({ "verificationId": verification, "code": node.letters.code(&verification).unwrap() })
}

async fn signs_in(node: &Node, from: &str) -> Value {
    let code = code_of(node, asks(node, from, json!({ "phoneNumber": NUMBER })).await).await;
    says(node, from, "verify-otp", code).await.ok()
}

/// Registers at home, by e-mail.
async fn ann_registers(node: &Node) {
    let asked = asks(node, HOME, json!({ "email": EMAIL, "purpose": "register" })).await;
    let mut with_code = code_of(node, asked).await;
    with_code["password"] = json!(GOOD);
    says(node, HOME, "register", with_code).await.ok();
}

/// Many ask until nobody gets any more; tells how many they got.
async fn strangers_exhaust(asks: impl AsyncFn(String) -> Answer) -> usize {
    for at in 0..50 {
        let answer = asks(format!("203.0.113.{at}")).await;
        if answer.result.is_err() {
            answer.is_refused(ErrorCode::AuthOtpBudget);
            return at;
        }
    }
    panic!("there is no end of codes");
}

stories! {
    async fn strangers_use_up_a_number_and_its_owner_still_gets_in_where_they_have_been(stage: Stage) {
        let node = behind_a_proxy(&stage).await;
        let first = signs_in(&node, HOME).await;
        let second = signs_in(&node, OFFICE).await;
        assert_eq!(first["user"]["id"], second["user"]["id"]);
        let number = json!({ "phoneNumber": NUMBER });
        assert_eq!(strangers_exhaust(async |from| asks(&node, &from, number.clone()).await).await, 3);
        asks(&node, HOTEL, number.clone()).await.is_refused(ErrorCode::AuthOtpBudget);

        // The first code there was the first of an hour's five.
        for place in [HOME, OFFICE] {
            assert_eq!(signs_in(&node, place).await["user"]["id"], first["user"]["id"]);
            for _ in 0..3 {
                asks(&node, place, number.clone()).await.ok();
            }
            let refused = asks(&node, place, number.clone()).await.is_refused(ErrorCode::AuthOtpBudget);
            assert_eq!(refused["retryAfterMs"], 3_600_000);
        }
        // Strangers get none any more that day.
        node.clock.advance(secs(3600));
        assert_eq!(strangers_exhaust(async |from| asks(&node, &from, number.clone()).await).await, 0);
        signs_in(&node, HOME).await;
    }

    async fn strangers_use_up_an_address_and_its_owner_sets_a_new_password_at_home(stage: Stage) {
        let node = behind_a_proxy(&stage).await;
        ann_registers(&node).await;
        node.clock.advance(secs(3600));
        // Whether there is an account nobody learns by this.
        for email in [EMAIL, "bob@example.org"] {
            assert_eq!(strangers_exhaust(async |from| forgets(&node, &from, email).await).await, 5);
            forgets(&node, HOTEL, email).await.is_refused(ErrorCode::AuthOtpBudget);
            asks(&node, HOTEL, json!({ "email": email })).await.is_refused(ErrorCode::AuthOtpBudget);
        }
        forgets(&node, HOME, "bob@example.org").await.is_refused(ErrorCode::AuthOtpBudget);

        let by_code = code_of(&node, asks(&node, HOME, json!({ "email": EMAIL })).await).await;
        says(&node, HOME, "verify-otp", by_code).await.ok();
        let mut reset = code_of(&node, forgets(&node, HOME, EMAIL).await).await;
        reset["newPassword"] = json!(BETTER);
        says(&node, HOME, "reset-password", reset).await.ok();
        says(&node, HOME, "login", json!({ "identifier": EMAIL, "password": BETTER })).await.ok();
    }

    async fn whoever_asked_while_the_carrier_was_away_asks_again_at_once(stage: Stage) {
        let node = behind_a_proxy(&stage).await;
        node.letters.are_stuck(true);
        for contact in [json!({ "phoneNumber": NUMBER }), json!({ "email": EMAIL, "purpose": "register" })] {
            for _ in 0..12 {
                asks(&node, HOTEL, contact.clone()).await.is_refused(ErrorCode::ServerUnavailable);
            }
        }
        node.letters.are_stuck(false);
        for left in (0..5).rev() {
            let sent = asks(&node, HOTEL, json!({ "phoneNumber": NUMBER })).await.ok();
            assert_eq!(sent["retryAfterSecs"] != 0, left == 0);
        }
        asks(&node, HOTEL, json!({ "phoneNumber": NUMBER })).await.is_refused(ErrorCode::AuthOtpBudget);
        ann_registers(&node).await;
    }
}
