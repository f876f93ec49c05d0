//! Where somebody is signed in, how they end that from elsewhere, and what they and the operator see of it.

use crate::support::*;
use actix_web::http::Method;
use actors::clock::Clock;
use entities::{Db, Options};
use quckchat::admin;

const MINUTE: Duration = secs(60);

/// The database, as an operator's command opens it.
async fn database(stage: &Stage) -> Db {
    Db::open(&Options { max_connections: 1, ..Options::new(stage.database_url()) }).await.unwrap()
}

async fn becomes_operator(stage: &Stage, person: &Person) {
    let db = database(stage).await;
    let clock: &dyn Clock = &*person.node.clock;
    admin::grant(&db, clock, &person.id.to_string(), "operator").await.unwrap();
    db.close().await.unwrap();
}

async fn sessions(person: &Person) -> Vec<Value> {
    person.calls("auth.listSessions", json!({})).await.ok_with(200)["items"].as_array().unwrap().clone()
}

fn ids(items: &[Value]) -> Vec<String> {
    items.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// The session is over, at every door of this node.
async fn is_over(person: &Person) {
    person.opens_list().await.is_refused(ErrorCode::AuthSessionRevoked);
    person.spends(&person.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
    let mut wire = Wire::open(&person.node, person.dial()).await;
    wire.says_hello(json!({})).await;
    assert_eq!(wire.is_closed().await, 4403);
}

stories! {
    async fn people_see_where_they_are_signed_in(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        node.clock.advance(MINUTE);
        let laptop = ann.on_another_device().await;
        // A third one says what it is, at length.
        let sent = node.says("auth.sendOtp", json!({ "phoneNumber": ann.phone })).await.ok();
        let code = node.letters.code(sent["verificationId"].as_str().unwrap()).unwrap();
        let device = json!({ "id": "d1", "name": "Ann's browser", "platform": "web" });
        let body = json!({ "verificationId": sent["verificationId"], "code": code, "device": device });
        let agent = format!("Mozilla/5.0 {}", "x".repeat(300));
        let headers = [("content-type", "application/json".to_owned()), ("user-agent", agent.clone())];
        let reply = node.requests(Method::POST, "/api/v1/auth/verify-otp", &headers, body.to_string()).await;
        let browser = reply.answer().ok();

        let list = sessions(&ann).await;
        assert_eq!(ids(&list), [browser["sessionId"].as_str().unwrap(), &laptop.session(), &ann.session()]);
        assert_eq!(list.iter().map(|item| item["current"] == true).collect::<Vec<_>>(), [false, false, true]);
        assert_eq!((&list[0]["device"], &list[0]["address"]), (&device, &json!("127.0.0.1")));
        assert_eq!(list[0]["userAgent"], agent[..200]);
        assert_eq!(list[2]["device"], json!({ "name": "a phone" }));
        assert_eq!(list[2]["createdAt"], "2026-02-02T02:40:00.000Z");
        assert_eq!((&list[0]["createdAt"], &list[0]["lastSeenAt"]), (&list[1]["createdAt"], &list[0]["authenticatedAt"]));
        assert_eq!(sessions(&bob).await.len(), 1);

        for door in laptop.doors().await {
            let mut found = Vec::new();
            let mut asked = json!({ "limit": 2 });
            loop {
                let page = door.calls("auth.listSessions", asked.clone()).await.ok();
                found.extend(page["items"].as_array().unwrap().clone());
                let Some(next) = page["nextCursor"].as_str() else { break };
                asked["cursor"] = json!(next);
            }
            assert_eq!((ids(&found), found[1]["current"].clone()), (ids(&list), json!(true)), "{}", door.name());
            let refused = door.calls("auth.listSessions", json!({ "cursor": "x" })).await;
            refused.is_refused_for(ErrorCode::RequestInvalid, "cursor");
            let refused = door.calls("auth.listSessions", json!({ "limit": 101 })).await;
            refused.is_refused_for(ErrorCode::RequestInvalid, "limit");
        }
    }

    async fn when_a_session_was_used_last_is_known_to_some_minutes(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann] = node.people(["ann"]).await;
        let seen = async || sessions(&ann).await[0]["lastSeenAt"].as_str().unwrap().to_owned();
        let before = seen().await;
        node.clock.advance(4 * MINUTE);
        ann.connects().await;
        node.clock.advance(MINUTE);
        // Not each time: the first hello was too soon after the sign-in.
        ann.connects().await;
        let mut last = before.clone();
        until("the second hello to be noted", async || {
            last = seen().await;
            last != before
        })
        .await;
        assert!(last.starts_with("2026-02-02T02:45:00"), "{last}");
        node.clock.advance(MINUTE);
        ann.refreshes().await;
        assert!(seen().await.starts_with("2026-02-02T02:46:00"));
        // What nobody could use any more is not listed.
        node.clock.advance(secs(60 * 86_400));
        let again = ann.on_another_device().await;
        assert_eq!(ids(&sessions(&again).await), [again.session()]);
    }

    async fn a_session_is_ended_from_another_one(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let laptop = ann.on_another_device().await;
        let (phones, laptops) = (ann.connects().await, laptop.connects().await);
        let revoke = async |session: &str| ann.calls("auth.revokeSession", json!({ "sessionId": session })).await;
        // What is not one's own is as what is not there.
        for nobodys in [&bob.session(), "01990000-0000-7000-8000-000000000001", "x"] {
            revoke(nobodys).await.is_refused(ErrorCode::AuthSessionNotFound);
        }
        bob.opens_list().await.ok();
        revoke(&laptop.session()).await.ok_with(204);
        assert_eq!(laptops.hears("session.revoked").await["data"]["sessionId"], json!(laptop.session()));
        assert_eq!(laptops.is_closed().await, 4403);
        is_over(&laptop).await;
        revoke(&laptop.session()).await.is_refused(ErrorCode::AuthSessionNotFound);
        phones.is_served().await;
        assert_eq!(ids(&sessions(&ann).await), [ann.session()]);

        let tablet = ann.on_another_device().await;
        phones.calls("auth.revokeSession", json!({ "sessionId": tablet.session() })).await.ok();
        is_over(&tablet).await;
        // One may end oneself.
        revoke(&ann.session()).await.ok_with(204);
        assert_eq!(phones.is_closed().await, 4403);
        is_over(&ann).await;
    }

    async fn all_others_are_ended_at_once(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let (laptop, tablet) = (ann.on_another_device().await, ann.on_another_device().await);
        let sockets = [ann.connects().await, laptop.connects().await, tablet.connects().await];
        assert_eq!(ann.calls("auth.logoutAll", json!({})).await.ok_with(200), json!({ "ended": 2 }));
        for (socket, person) in sockets[1..].iter().zip([&laptop, &tablet]) {
            assert_eq!(socket.is_closed().await, 4403);
            is_over(person).await;
        }
        sockets[0].is_served().await;
        assert_eq!(sockets[0].calls("auth.logoutAll", json!({})).await.ok(), json!({ "ended": 0 }));
        let laptop = ann.on_another_device().await;
        assert_eq!(ann.calls("auth.logoutAll", json!({ "includeCurrent": true })).await.ok(), json!({ "ended": 2 }));
        assert_eq!(sockets[0].is_closed().await, 4403);
        for person in [&laptop, &ann] {
            is_over(person).await;
        }
        bob.opens_list().await.ok();
        let wrong = bob.calls("auth.logoutAll", json!({ "includeCurrent": "yes" })).await;
        wrong.is_refused_for(ErrorCode::RequestInvalid, "includeCurrent");
    }

    async fn people_see_what_happened_to_their_account_and_operators_see_all(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, olga] = node.people(["ann", "bob", "olga"]).await;
        let laptop = ann.on_another_device().await;
        ann.calls("auth.revokeSession", json!({ "sessionId": laptop.session() })).await.ok();
        let tablet = ann.on_another_device().await;
        tablet.signs_out().await.ok();
        ann.calls("auth.logoutAll", json!({})).await.ok();
        for door in ann.doors().await {
            let events = door.calls("auth.listEvents", json!({})).await.ok();
            let events = events["items"].as_array().unwrap();
            let kinds: Vec<&str> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
            let expected =
                ["sessions_revoked", "signed_out", "signed_in", "session_revoked", "signed_in", "signed_in"];
            assert_eq!(kinds, expected, "{}", door.name());
            assert_eq!(events[3]["detail"], json!({ "sessionId": laptop.session() }));
            assert_eq!((&events[3]["sessionId"], &events[3]["address"]), (&json!(ann.session()), &json!("127.0.0.1")));
            assert_eq!(events[5]["detail"], json!({ "by": "otp", "isNewUser": true }));
            assert!(events.iter().all(|event| event["userId"] == json!(ann.id)));

            let first = door.calls("auth.listEvents", json!({ "limit": 4 })).await.ok();
            let rest = door.calls("auth.listEvents", json!({ "limit": 4, "cursor": first["nextCursor"] })).await.ok();
            assert_eq!((&rest["items"][0], rest.get("nextCursor")), (&events[4], None));
            let own = door.calls("auth.listEvents", json!({ "userId": ann.id, "limit": 1 })).await.ok();
            assert_eq!(own["items"][0], events[0]);
            for others in [json!({ "userId": bob.id }), json!({ "all": true }), json!({ "all": true, "userId": ann.id })] {
                let answer = door.calls("auth.listEvents", others.clone()).await;
                if others["userId"] == json!(ann.id) {
                    answer.ok();
                } else {
                    answer.is_refused(ErrorCode::AuthForbidden);
                }
            }
            let wrong = door.calls("auth.listEvents", json!({ "cursor": "x" })).await;
            wrong.is_refused_for(ErrorCode::RequestInvalid, "cursor");
        }
        becomes_operator(&stage, &olga).await;
        let bobs = olga.calls("auth.listEvents", json!({ "userId": bob.id })).await.ok();
        assert_eq!(bobs["items"].as_array().unwrap().len(), 1);
        let all = olga.calls("auth.listEvents", json!({ "all": true })).await.ok();
        assert_eq!((all["items"].as_array().unwrap().len(), &all["items"][0]["kind"]), (9, &json!("role_granted")));
    }

    async fn operators_are_told_who_a_token_stands_for_or_why_it_is_not_good(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, olga] = node.people(["ann", "olga"]).await;
        let token = ann.access_token();
        let validate = async |who: &Person, token: &str| {
            who.calls("auth.validate", json!({ "accessToken": token })).await
        };
        for door in ann.doors().await {
            door.calls("auth.validate", json!({ "accessToken": token })).await.is_refused(ErrorCode::AuthForbidden);
        }
        becomes_operator(&stage, &olga).await;
        let good = validate(&olga, &token).await.ok_with(200);
        let expected = json!({
            "valid": true,
            "userId": ann.id,
            "sessionId": ann.session(),
            "expiresAt": "2026-02-02T02:55:00.000Z",
        });
        assert_eq!(good, expected);
        let why = async |token: &str| {
            let answer = validate(&olga, token).await.ok();
            assert_eq!((&answer["valid"], answer.get("userId")), (&json!(false), None));
            answer["reason"].as_str().unwrap().to_owned()
        };
        assert_eq!(why("x").await, "auth.unauthenticated");
        ann.signs_out().await.ok();
        assert_eq!(why(&token).await, "auth.session_revoked");
        validate(&olga, "").await.is_refused_for(ErrorCode::RequestInvalid, "accessToken");
        node.clock.advance(15 * MINUTE);
        olga.refreshes().await;
        assert_eq!(why(&token).await, "auth.token_expired");
    }
}

fleet_stories! {
    async fn a_session_that_is_ended_at_one_node_is_over_at_all(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let laptop = ann.on_another_device().await.at(&fleet[1]);
        let tablet = ann.on_another_device().await.at(&fleet[1]);
        let (laptops, tablets) = (laptop.connects().await, tablet.connects().await);
        for person in [&laptop, &tablet] {
            person.opens_list().await.ok();
        }
        ann.calls("auth.revokeSession", json!({ "sessionId": laptop.session() })).await.ok();
        assert_eq!(laptops.is_closed().await, 4403);
        laptop.spends(&laptop.refresh_token()).await.is_refused(ErrorCode::AuthSessionRevoked);
        // What that node was told of the session a moment ago, it believes for a second.
        fleet.clock.advance(secs(1));
        is_over(&laptop).await;
        tablets.is_served().await;

        tablet.opens_list().await.ok();
        assert_eq!(ann.calls("auth.logoutAll", json!({})).await.ok(), json!({ "ended": 1 }));
        assert_eq!(tablets.is_closed().await, 4403);
        fleet.clock.advance(secs(1));
        is_over(&tablet).await;
        ann.at(&fleet[1]).opens_list().await.ok();
    }

    async fn all_sessions_that_end_unheard_are_found_by_the_sweep(stage: Stage) {
        let fleet = Fleet::start(&stage, 2).await;
        let [ann] = fleet[0].people(["ann"]).await;
        let (laptop, tablet) = (ann.on_another_device().await, ann.on_another_device().await);
        let (laptops, tablets) = (laptop.at(&fleet[1]).connects().await, tablet.at(&fleet[1]).connects().await);
        fleet.bus.lose_hints(true);
        assert_eq!(ann.calls("auth.logoutAll", json!({})).await.ok(), json!({ "ended": 2 }));
        let closed = async { (laptops.is_closed().await, tablets.is_closed().await) };
        assert_eq!(fleet.clock.pass_rounds_until(2, (secs(11), millis(50)), closed).await, (4403, 4403));
    }
}
