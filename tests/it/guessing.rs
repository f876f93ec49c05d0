//! Guessing: many who try passwords and codes of one account, and its owner, who still gets in.

use crate::support::answer::Answer;
use crate::support::speech::says;
use crate::support::*;
use futures_util::future::join_all;

const NUMBER: &str = "+4915112345678";
const HOME: &str = "198.51.100.7";
/// Tries of a wave, of which half are passwords and half are codes. `tests/load` does it with 10,000.
const WAVE: usize = 100;
const WAVES: usize = 6;

async fn sent(node: &Node, from: &str, purpose: &str) -> (String, String) {
    let sent = says(node, from, "send-otp", json!({ "phoneNumber": NUMBER, "purpose": purpose })).await.ok();
    let verification = sent["verificationId"].as_str().unwrap().to_owned();
    let code = node.letters.code(&verification).unwrap();
    (verification, code)
}

async fn behind_a_proxy(stage: &Stage) -> Node {
    Node::start_with(stage, |config| {
        config.gateway.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        config.operations.listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await
}

async fn ann_registers(node: &Node) {
    let (verification, code) = sent(node, HOME, "register").await;
    let body = json!({ "verificationId": verification, "code": code, "password": GOOD, "username": "ann" });
    says(node, HOME, "register", body).await.ok();
}

async fn tries(node: &Node, from: &str, identifier: &str, password: &str) -> Answer {
    says(node, from, "login", json!({ "identifier": identifier, "password": password })).await
}

stories! {
    async fn of_many_who_guess_none_gets_in_and_the_owner_does(stage: Stage) {
        let node = behind_a_proxy(&stage).await;
        ann_registers(&node).await;
        let before = node.counts("quckchat_password_hashes_total").await;

        let mut looked_at = 0;
        for wave in 0..WAVES {
            if wave > 0 {
                node.clock.advance(secs(60));
            }
            let (verification, code) = if wave < 2 {
                sent(&node, &format!("203.0.113.{wave}"), "signIn").await
            } else {
                // No more of them may be had: whoever guesses goes on without one.
                ("AAAAAAAAAAAAAAAAAAAAAA".to_owned(), "000000".to_owned())
            };
            let guesses = join_all((0..WAVE).map(|at| {
                let (node, verification) = (&node, &verification);
                let wrong = format!("{:06}", (code.parse::<usize>().unwrap() + 1 + at) % 1_000_000);
                async move {
                    let from = format!("203.0.113.{}", (wave * 31 + at) % 250);
                    match at % 2 {
                        0 => tries(node, &from, "ann", &format!("{GOOD}{at}")).await,
                        _ => {
                            let body = json!({ "verificationId": verification, "code": wrong });
                            says(node, &from, "verify-otp", body).await
                        }
                    }
                }
            }))
            .await;
            for guess in guesses {
                match guess.error()["code"].as_str().unwrap() {
                    "auth.credentials_invalid" => looked_at += 1,
                    "auth.otp_invalid" | "auth.otp_exhausted" | "auth.otp_expired" | "auth.too_many_tries" => {}
                    other => panic!("{other}"),
                }
            }
        }

        // Six until the first delay has begun, and then one a wave, as long as delays are shorter than the minute
        // between two.
        let hashes = node.counts("quckchat_password_hashes_total").await - before;
        assert_eq!((looked_at, hashes), (5 + WAVES, 11.0));

        // The owner at home, beside whom the strangers wait; and anywhere by a code.
        tries(&node, "203.0.113.251", "ann", GOOD).await.is_refused(ErrorCode::AuthTooManyTries);
        tries(&node, HOME, "ann", GOOD).await.ok();
        let (verification, code) = sent(&node, "192.0.2.1", "signIn").await;
        let body = json!({ "verificationId": verification, "code": code });
        says(&node, "192.0.2.1", "verify-otp", body).await.ok();
        // From there she has been in by now.
        tries(&node, "192.0.2.1", "ann", GOOD).await.ok();
    }

    async fn one_password_tried_with_many_names_burns_the_address(stage: Stage) {
        let node = behind_a_proxy(&stage).await;
        ann_registers(&node).await;
        let mut looked_at = 0;
        for at in 0..60 {
            let answer = tries(&node, "203.0.113.9", &format!("name{at}"), "Summer2026!").await;
            looked_at += usize::from(answer.error()["code"] == "auth.credentials_invalid");
        }
        assert_eq!(looked_at, 51);
    }

    async fn a_neighbour_behind_the_same_address_shuts_nobody_out_who_has_a_code(stage: Stage) {
        const SHARED: &str = "203.0.113.9";
        let node = behind_a_proxy(&stage).await;
        ann_registers(&node).await;
        for at in 0..51 {
            tries(&node, SHARED, &format!("name{at}"), "Summer2026!").await.is_refused(ErrorCode::AuthCredentialsInvalid);
        }
        tries(&node, SHARED, "ann", GOOD).await.is_refused(ErrorCode::AuthTooManyTries);
        let (verification, code) = sent(&node, HOME, "signIn").await;
        let verifies = async |code: &str| {
            says(&node, SHARED, "verify-otp", json!({ "verificationId": verification, "code": code })).await
        };
        // She may mistype it as often as anywhere else, and no more often is it guessed at.
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for _ in 0..2 {
            verifies(wrong).await.is_refused(ErrorCode::AuthOtpInvalid);
        }
        verifies(&code).await.ok();
        verifies(&code).await.is_refused(ErrorCode::AuthTooManyTries);
        let (verification, code) = sent(&node, HOME, "signIn").await;
        let wrong = if code == "000000" { "000001" } else { "000000" };
        for at in 0..9 {
            let body = json!({ "verificationId": verification, "code": wrong });
            let expected = if at < 3 { ErrorCode::AuthOtpInvalid } else { ErrorCode::AuthTooManyTries };
            says(&node, SHARED, "verify-otp", body).await.is_refused(expected);
        }
    }

    async fn a_new_password_ends_the_wait_that_strangers_made(stage: Stage) {
        let node = behind_a_proxy(&stage).await;
        ann_registers(&node).await;
        for at in 0..20 {
            tries(&node, &format!("203.0.113.{at}"), "ann", "Summer2026!").await.error();
        }
        tries(&node, "192.0.2.1", "ann", GOOD).await.is_refused(ErrorCode::AuthTooManyTries);
        let asked = says(&node, "192.0.2.1", "forgot-password", json!({ "identifier": NUMBER })).await.ok();
        let verification = asked["verificationId"].as_str().unwrap();
        let code = node.code_of(verification).await;
        let body = json!({ "verificationId": verification, "code": code, "newPassword": BETTER });
        says(&node, "192.0.2.1", "reset-password", body).await.ok();
        tries(&node, "192.0.2.1", "ann", BETTER).await.ok();
    }

    async fn what_is_tried_with_a_name_that_nobody_has_waits_just_as_long(stage: Stage) {
        let node = behind_a_proxy(&stage).await;
        ann_registers(&node).await;
        let mut told = Vec::new();
        for identifier in ["ann", "nobody", NUMBER, "+4915187654321"] {
            let mut answers = Vec::new();
            for at in 0..9 {
                let from = format!("203.0.113.{}", told.len() * 10 + at);
                answers.push(tries(&node, &from, identifier, "Summer2026!").await.gist());
            }
            told.push(answers);
        }
        assert_eq!(told[0][8]["retryAfterMs"], 1000);
        assert!(told.iter().all(|answers| *answers == told[0]), "{told:?}");
    }
}
