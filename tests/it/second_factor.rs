//! The second factor: set up with an app, asked for at every sign-in, and gone again.

use crate::support::answer::Answer;
use crate::support::speech::Request;
use crate::support::*;
use futures_util::future::join_all;

const MINUTE: Duration = secs(60);

/// Somebody with an authenticator app and ten backup codes.
struct Guarded {
    person: Person,
    app: Authenticator,
    codes: Vec<String>,
}

impl Guarded {
    async fn arrives(node: &Node) -> Guarded {
        let [person] = node.people(["ann"]).await;
        let app = sets_up(&person).await;
        let enabled = person.calls("auth.enable2fa", json!({ "code": app.shows(node, 0) })).await.ok_with(200);
        let codes = enabled["backupCodes"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
        let codes = codes.collect();
        node.clock.advance(STEP);
        Guarded { person, app, codes }
    }

    /// What the app shows so many steps from now.
    fn shows(&self, steps: i64) -> String {
        self.app.shows(&self.person.node, steps)
    }

    /// A code that counts at none of the steps around now.
    fn wrong(&self) -> String {
        let right: Vec<String> = (-2..=2).map(|steps| self.shows(steps)).collect();
        (0..6).map(|at| format!("00000{at}")).find(|code| !right.contains(code)).unwrap()
    }

    /// The challenge of a sign-in's first step.
    async fn begins(&self) -> String {
        let asked = Person::signs_in(&self.person.node, &self.person.phone).await.ok_with(200);
        assert_eq!((&asked["twoFactorRequired"], &asked["expiresInSecs"]), (&json!(true), &json!(300)));
        for field in ["accessToken", "refreshToken", "user", "sessionId"] {
            assert!(asked.get(field).is_none(), "{asked}");
        }
        asked["challengeToken"].as_str().unwrap().to_owned()
    }

    /// The second step.
    async fn ends(&self, challenge: &str, code: &str) -> Answer {
        ends(&self.person.node, challenge, code).await
    }

    async fn kinds_of_events(&self) -> Vec<String> {
        let events = self.person.calls("auth.listEvents", json!({ "limit": 100 })).await.ok();
        events["items"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect()
    }
}

async fn ends(node: &Node, challenge: &str, code: &str) -> Answer {
    node.says("auth.verify2fa", json!({ "challengeToken": challenge, "code": code })).await
}

async fn sets_up(person: &Person) -> Authenticator {
    let setup = person.calls("auth.setup2fa", json!({})).await.ok_with(200);
    assert!(setup["otpauthUri"].as_str().unwrap().starts_with("otpauth://totp/QuckChat:"), "{setup}");
    assert!(setup["qrPng"].as_str().unwrap().starts_with("data:image/png;base64,"));
    assert_eq!(setup["expiresInSecs"], 900);
    Authenticator::of(&setup)
}

stories! {
    async fn an_app_guards_the_next_sign_in(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = Guarded::arrives(&node).await;
        assert_eq!(ann.codes.len(), 10);
        // Those who are signed in stay so.
        ann.person.opens_list().await.ok();
        let challenge = ann.begins().await;
        // The challenge opens nothing else.
        ann.person.spends(&challenge).await.is_refused(ErrorCode::AuthRefreshInvalid);
        let as_token = node.asks(Some(&challenge), Request::of("users.getProfile", json!({ "userId": "me" }))).await;
        as_token.is_refused(ErrorCode::AuthUnauthenticated);
        let as_otp = json!({ "verificationId": challenge, "code": ann.shows(0) });
        node.says("auth.verifyOtp", as_otp).await.error();

        ann.ends(&challenge, &ann.wrong()).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        let signed_in = ann.ends(&challenge, &ann.shows(0)).await.ok_with(200);
        assert_eq!((&signed_in["isNewUser"], &signed_in["user"]["id"]), (&json!(false), &json!(ann.person.id)));
        let token = signed_in["accessToken"].as_str().unwrap();
        let me = node.asks(Some(token), Request::of("users.getProfile", json!({ "userId": "me" }))).await.ok();
        assert_eq!(me["id"], json!(ann.person.id));
        let sessions = ann.person.calls("auth.listSessions", json!({})).await.ok();
        assert_eq!((sessions["items"][0]["id"].clone(), sessions["items"][0]["device"]["name"].clone()),
            (signed_in["sessionId"].clone(), json!("a phone")));
        let events = ann.person.calls("auth.listEvents", json!({ "limit": 1 })).await.ok();
        assert_eq!(events["items"][0]["detail"], json!({ "by": "otp totp", "isNewUser": false }));

        // Used: the challenge, and the code.
        ann.ends(&challenge, &ann.shows(1)).await.is_refused(ErrorCode::AuthChallengeExpired);
        ann.ends(&ann.begins().await, &ann.shows(0)).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        ann.ends(&ann.begins().await, &ann.shows(1)).await.ok();
    }

    async fn a_challenge_is_good_for_five_tries_and_five_minutes(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = Guarded::arrives(&node).await;
        let challenge = ann.begins().await;
        for _ in 0..5 {
            ann.ends(&challenge, &ann.wrong()).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        }
        for code in [ann.shows(0), ann.codes[0].clone()] {
            ann.ends(&challenge, &code).await.is_refused(ErrorCode::AuthChallengeExhausted);
        }
        // Nor does another challenge help who guesses; the owner has a backup code, or waits a minute.
        let another = ann.begins().await;
        let limited = ann.ends(&another, &ann.shows(0)).await.is_refused(ErrorCode::AuthSecondFactorLimited);
        assert_eq!(limited["retryAfterMs"], 60_000);
        ann.ends(&another, &ann.codes[0]).await.ok();

        let late = ann.begins().await;
        node.clock.advance(5 * MINUTE);
        ann.ends(&late, &ann.shows(0)).await.is_refused(ErrorCode::AuthChallengeExpired);
        for nobodys in ["x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
            ann.ends(nobodys, &ann.shows(0)).await.is_refused(ErrorCode::AuthChallengeExpired);
        }
        let failed = ann.kinds_of_events().await.iter().filter(|kind| *kind == "second_factor_failed").count();
        assert_eq!(failed, 5);
    }

    async fn of_many_who_bring_one_code_at_once_one_is_let_in(stage: Stage) {
        let node = Node::in_real_time(&stage, |config| {
            (config.auth.otp_per_hour, config.auth.otp_per_day) = (100, 100);
        })
        .await;
        let [person] = node.people(["ann"]).await;
        let app = sets_up(&person).await;
        let now = || actors::clock::Clock::now(&actors::clock::SystemClock::default());
        let code = |steps: i64| app.shows_at(now(), steps);
        let enabled = person.calls("auth.enable2fa", json!({ "code": code(0) })).await.ok();
        for code in [code(1), enabled["backupCodes"][0].as_str().unwrap().to_owned()] {
            let mut challenges = Vec::new();
            for _ in 0..4 {
                let asked = Person::signs_in(&node, &person.phone).await.ok();
                challenges.push(asked["challengeToken"].as_str().unwrap().to_owned());
            }
            let answers = join_all(challenges.iter().map(|challenge| ends(&node, challenge, &code))).await;
            let (right, wrong): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.result.is_ok());
            assert_eq!(right.len(), 1);
            wrong.iter().for_each(|answer| drop(answer.is_refused(ErrorCode::AuthSecondFactorInvalid)));
        }
        // One challenge, at once, with two codes that are both right.
        let asked = Person::signs_in(&node, &person.phone).await.ok();
        let challenge = asked["challengeToken"].as_str().unwrap();
        let codes = [1, 2].map(|at| enabled["backupCodes"][at].as_str().unwrap().to_owned());
        let answers = join_all(codes.iter().map(|code| ends(&node, challenge, code))).await;
        assert_eq!(answers.iter().filter(|answer| answer.result.is_ok()).count(), 1);
    }

    async fn setting_up_takes_a_fresh_session_and_the_apps_first_code(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let enable = async |code: &str| ann.calls("auth.enable2fa", json!({ "code": code })).await;
        enable("123456").await.is_refused(ErrorCode::AuthSecondFactorMissing);
        for command in ["auth.disable2fa", "auth.regenerateBackupCodes"] {
            ann.calls(command, json!({ "code": "123456" })).await.is_refused(ErrorCode::AuthSecondFactorMissing);
        }
        let first = sets_up(&ann).await;
        let second = sets_up(&ann).await;
        for wrong in ["hello", "12345", "00000-00000"] {
            enable(wrong).await.is_refused_for(ErrorCode::RequestInvalid, "code");
        }
        if first.shows(&node, 0) != second.shows(&node, 0) {
            enable(&first.shows(&node, 0)).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        }
        // It guards nothing yet.
        assert!(Person::signs_in(&node, &ann.phone).await.ok()["accessToken"].is_string());
        enable(&second.shows(&node, 0)).await.ok();
        enable(&second.shows(&node, 1)).await.is_refused(ErrorCode::AuthSecondFactorEnabled);
        ann.calls("auth.setup2fa", json!({})).await.is_refused(ErrorCode::AuthSecondFactorEnabled);

        node.clock.advance(5 * MINUTE);
        let code = second.shows(&node, 0);
        for command in ["auth.setup2fa", "auth.enable2fa", "auth.disable2fa", "auth.regenerateBackupCodes"] {
            let refused = ann.calls(command, json!({ "code": code })).await;
            refused.is_refused(ErrorCode::AuthReauthenticationRequired);
            let by_socket = ann.connects().await.calls(command, json!({ "code": code })).await;
            by_socket.is_refused(ErrorCode::AuthReauthenticationRequired);
        }
        let second_step = json!({ "challengeToken": "x", "code": code });
        let by_socket = ann.connects().await.calls("auth.verify2fa", second_step).await;
        by_socket.is_refused(ErrorCode::RequestWrongDoor);
    }

    async fn whoever_signs_in_with_it_may_take_it_away(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = Guarded::arrives(&node).await;
        let socket = ann.person.connects().await;
        let new = socket.calls("auth.regenerateBackupCodes", json!({ "code": ann.shows(0) })).await.ok();
        assert_eq!(new["backupCodes"].as_array().unwrap().len(), 10);
        // Those before are over, and the code was used.
        let disable = async |code: &str| socket.calls("auth.disable2fa", json!({ "code": code })).await;
        for over in [&ann.codes[0], &ann.shows(0)] {
            disable(over).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        }
        disable(new["backupCodes"][0].as_str().unwrap()).await.ok();
        assert!(Person::signs_in(&node, &ann.person.phone).await.ok()["accessToken"].is_string());
        let kinds = ann.kinds_of_events().await;
        let expected = [
            "signed_in",
            "second_factor_disabled",
            "second_factor_failed",
            "second_factor_failed",
            "backup_codes_renewed",
            "second_factor_enabled",
            "signed_in",
        ];
        assert_eq!(kinds, expected);
        // Both are told to whoever has the number, in case it was not they.
        let told = || node.letters.notices(&ann.person.phone).len();
        until("both notices to be sent", async || told() == 2).await;
        // And may have another app.
        sets_up(&ann.person).await;
    }

    async fn whoever_found_a_device_guesses_in_vain(stage: Stage) {
        let node = Node::start(&stage).await;
        let ann = Guarded::arrives(&node).await;
        let disable = async |code: &str| ann.person.calls("auth.disable2fa", json!({ "code": code })).await;
        for _ in 0..5 {
            disable(&ann.wrong()).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        }
        for code in [ann.wrong(), ann.shows(0), ann.codes[0].clone()] {
            let refused = disable(&code).await.is_refused(ErrorCode::AuthSecondFactorLimited);
            assert_eq!(refused["retryAfterMs"], 60_000);
        }
        node.clock.advance(MINUTE);
        disable(&ann.wrong()).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        let refused = disable(&ann.shows(0)).await.is_refused(ErrorCode::AuthSecondFactorLimited);
        assert_eq!(refused["retryAfterMs"], 120_000);
        // The owner signs in elsewhere, and that session is not held back.
        let signed_in = ann.ends(&ann.begins().await, &ann.shows(0)).await.ok();
        let token = signed_in["accessToken"].as_str().unwrap();
        let elsewhere = Request::of("auth.disable2fa", json!({ "code": ann.codes[0] }));
        node.asks(Some(token), elsewhere).await.ok_with(204);
    }

    async fn a_browser_ends_its_second_step_with_a_cookie(stage: Stage) {
        let node = Node::start_with(&stage, |config| {
            config.gateway.allowed_origins = vec!["https://chat.example".to_owned()];
        })
        .await;
        let ann = Guarded::arrives(&node).await;
        let headers = [
            ("content-type", "application/json".to_owned()),
            ("x-quckchat-session", "cookie".to_owned()),
            ("origin", "https://chat.example".to_owned()),
        ];
        let body = json!({ "challengeToken": ann.begins().await, "code": ann.shows(0) }).to_string();
        let post = actix_web::http::Method::POST;
        let reply = node.requests(post, "/api/v1/auth/2fa/verify", &headers, body).await;
        let cookie = reply.header("set-cookie").unwrap().to_owned();
        for attribute in ["quckchat_refresh=", "HttpOnly", "Secure", "SameSite=Strict", "Path=/api/v1/auth"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let signed_in = reply.answer().ok_with(200);
        assert!(signed_in["accessToken"].is_string() && signed_in.get("refreshToken").is_none());
    }
}

fleet_stories! {
    async fn a_second_factor_holds_at_every_node_also_when_its_key_was_replaced(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let ann = Guarded::arrives(&fleet[0]).await;
        ends(&fleet[1], &ann.begins().await, &ann.shows(0)).await.ok();
        fleet.clock.advance(10 * MINUTE);

        let db = entities::Db::open(&entities::Options::new(stage.database_url())).await.unwrap();
        let (which, mut said) = (quckchat::admin::Which { signing: false, sealing: true }, Vec::new());
        let clock = fleet.clock.clone();
        quckchat::admin::rotate_keys(&stage.config(), &db, clock, which, &mut said).await.unwrap();
        db.close().await.unwrap();
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("values sealed anew: 1"), "{said}");

        // Neither node has read the keys again. One code at both, at once: one is let in.
        let (one, other, code) = (ann.begins().await, ann.begins().await, ann.shows(0));
        let (here, there) = tokio::join!(ends(&fleet[0], &one, &code), ends(&fleet[1], &other, &code));
        assert!(here.result.is_ok() != there.result.is_ok());
        let (refused, left) = if here.result.is_ok() { (there, &other) } else { (here, &one) };
        refused.is_refused(ErrorCode::AuthSecondFactorInvalid);
        // Tries are counted over both.
        for at in [0, 1, 0, 1] {
            ends(&fleet[at], left, &ann.wrong()).await.is_refused(ErrorCode::AuthSecondFactorInvalid);
        }
        ends(&fleet[1], left, &ann.shows(1)).await.is_refused(ErrorCode::AuthChallengeExhausted);
    }
}
