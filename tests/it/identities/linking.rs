//! Whose an identity is: linked by the signed-in, or by an address that both sides have verified; and unlinked.
//! Never what a provider says: a small issuer vouches for everybody.

use super::{node_at, node_with};
use crate::support::browser::{exchanges, linking, signs_in};
use crate::support::*;

/// The code of a flow that was begun to link.
async fn code_to_link(person: &Person, issuer: &Issuer, sub: &str) -> String {
    let more = format!("&linkSession={}", person.session());
    let browser = Browser::sets_out(&person.node, "issuer", &more).await;
    browser.signs_in_at(issuer, json!({ "sub": sub, "email": format!("{sub}@example.org") })).await["code"].clone()
}

async fn links(person: &Person, issuer: &Issuer, sub: &str) -> answer::Answer {
    let code = code_to_link(person, issuer, sub).await;
    person.calls("auth.linkAccount", linking(&code)).await
}

async fn linked(person: &Person) -> Vec<Value> {
    person.calls("auth.linkedAccounts", json!({})).await.ok()["items"].as_array().unwrap().clone()
}

/// Whom an issuer's answer has signed in.
fn person(node: &Node, signed_in: &Value) -> Person {
    let line = json!({
        "userId": signed_in["user"]["id"], "accessToken": signed_in["accessToken"],
        "refreshToken": signed_in["refreshToken"], "sessionId": signed_in["sessionId"],
    });
    Person::seeded(node, "somebody", &line)
}

stories! {
    async fn the_signed_in_link_who_they_are_elsewhere_and_sign_in_by_it(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        assert!(linked(&ann).await.is_empty());
        let made = links(&ann, &issuer, "ann").await.ok_with(200);
        assert_eq!((&made["provider"], &made["email"]), (&json!("issuer"), &json!("ann@example.org")));
        assert_eq!(links(&ann, &issuer, "ann").await.ok()["linkedAt"], made["linkedAt"], "once more is nothing new");
        for door in ann.doors().await {
            let listed = door.calls("auth.linkedAccounts", json!({})).await.ok();
            assert_eq!(listed["items"], json!([made]), "{}", door.name());
        }
        links(&bob, &issuer, "ann").await.is_refused(ErrorCode::AuthIdentityTaken);
        let signed_in = signs_in(&node, &issuer, json!({ "sub": "ann" })).await;
        assert_eq!((&signed_in["isNewUser"], &signed_in["user"]["id"]), (&json!(false), &json!(ann.id)));
    }

    async fn whoever_has_an_account_is_told_of_each_new_way_in_and_of_one_less(stage: Stage) {
        const EMAIL: &str = "ann@example.org";
        let (issuer, other) = (Issuer::start().await, Issuer::start().await);
        let sections = [("issuer", &issuer), ("other", &other)].map(|(name, issuer)| {
            let mut section = issuer.section();
            section.trust_email = true;
            (name, section)
        });
        let node = node_with(&stage, sections).await;
        let is_told = async |to: &str, times: usize| {
            until("a notice", async || node.letters.notices(to).len() >= times).await;
            assert_eq!(node.letters.notices(to).len(), times, "{to}");
        };
        let claims = json!({ "sub": "ann", "email": EMAIL, "email_verified": true });
        let ann = person(&node, &signs_in(&node, &issuer, claims.clone()).await);
        assert!(node.letters.notices(EMAIL).is_empty(), "nothing has changed: there was no account");
        // By an address that both have verified, with nobody signed in.
        let back = Browser::sets_out(&node, "other", "").await.signs_in_at(&other, claims.clone()).await;
        assert_eq!(exchanges(&node, &back["code"]).await.ok()["isNewUser"], false);
        is_told(EMAIL, 1).await;
        signs_in(&node, &issuer, claims).await;
        ann.calls("auth.unlinkAccount", json!({ "provider": "other" })).await.ok_with(204);
        is_told(EMAIL, 2).await;
        assert_eq!(node.letters.notices(EMAIL), ["Your QuckChat account has changed"; 2]);

        let [bob] = node.people(["bob"]).await;
        for _ in 0..2 {
            links(&bob, &issuer, "bob").await.ok();
            is_told(&bob.phone, 1).await;
        }
        bob.calls("auth.unlinkAccount", json!({ "provider": "issuer" })).await.ok_with(204);
        is_told(&bob.phone, 2).await;
        assert_eq!(
            node.letters.notices(&bob.phone),
            [
                "A way to sign in by another service was added to your QuckChat account.",
                "A way to sign in by another service was removed from your QuckChat account.",
            ]
        );
    }

    async fn a_flow_to_link_is_one_sessions_and_does_not_sign_in(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let [ann, bob] = node.people(["ann", "bob"]).await;
        let code = code_to_link(&ann, &issuer, "ann").await;
        exchanges(&node, &code).await.is_refused(ErrorCode::AuthChallengeExpired);
        bob.calls("auth.linkAccount", linking(&code)).await.is_refused(ErrorCode::AuthChallengeExpired);
        let elsewhere = ann.on_another_device().await;
        elsewhere.calls("auth.linkAccount", linking(&code)).await.is_refused(ErrorCode::AuthChallengeExpired);
        // What was begun to sign in does not link.
        let browser = Browser::sets_out(&node, "issuer", "").await;
        let to_sign_in = browser.signs_in_at(&issuer, json!({ "sub": "mallory" })).await["code"].clone();
        ann.calls("auth.linkAccount", linking(&to_sign_in)).await.is_refused(ErrorCode::AuthChallengeExpired);
        node.clock.advance(secs(301));
        for (command, data) in
            [("auth.linkAccount", linking(&code)), ("auth.unlinkAccount", json!({ "provider": "issuer" }))]
        {
            ann.calls(command, data).await.is_refused(ErrorCode::AuthReauthenticationRequired);
        }
        assert!(linked(&ann).await.is_empty() && linked(&bob).await.is_empty());
    }

    async fn the_last_way_in_stays(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_with(&stage, [("issuer", issuer.section()), ("second", issuer.section())]).await;
        let unlinks = async |person: &Person, provider: &str| {
            person.calls("auth.unlinkAccount", json!({ "provider": provider })).await
        };
        let ann = person(&node, &signs_in(&node, &issuer, json!({ "sub": "ann" })).await);
        unlinks(&ann, "nobody").await.is_refused(ErrorCode::AuthIdentityNotFound);
        unlinks(&ann, "issuer").await.is_refused(ErrorCode::AuthLastWayIn);
        // A second one, by another name of the same issuer.
        let more = format!("&linkSession={}", ann.session());
        let browser = Browser::sets_out(&node, "second", &more).await;
        let code = browser.signs_in_at(&issuer, json!({ "sub": "ann at work" })).await["code"].clone();
        ann.calls("auth.linkAccount", linking(&code)).await.ok();
        let (one, other) = futures_util::join!(unlinks(&ann, "issuer"), unlinks(&ann, "second"));
        assert!(one.result.is_ok() != other.result.is_ok(), "{one:?} {other:?}");
        let refused = if one.result.is_ok() { other } else { one };
        refused.is_refused(ErrorCode::AuthLastWayIn);
        assert_eq!(linked(&ann).await.len(), 1);

        // With a number there is another way.
        let [bob] = node.people(["bob"]).await;
        links(&bob, &issuer, "bob").await.ok();
        unlinks(&bob, "issuer").await.ok_with(204);
        unlinks(&bob, "issuer").await.is_refused(ErrorCode::AuthIdentityNotFound);
        assert_eq!(signs_in(&node, &issuer, json!({ "sub": "bob" })).await["isNewUser"], true, "it was forgotten");
    }

    async fn an_address_opens_an_account_only_if_both_sides_have_verified_it(stage: Stage) {
        let (trusted, other, untrusted) = (Issuer::start().await, Issuer::start().await, Issuer::start().await);
        let trusting = |issuer: &Issuer| {
            let mut section = issuer.section();
            section.trust_email = true;
            section
        };
        let sections = [("issuer", trusting(&trusted)), ("other", trusting(&other)), ("untrusted", untrusted.section())];
        let node = node_with(&stage, sections).await;
        let signs_in_by = async |name: &str, issuer: &Issuer, claims: Value| {
            let back = Browser::sets_out(&node, name, "").await.signs_in_at(issuer, claims).await;
            exchanges(&node, &back["code"]).await.ok()
        };
        let is = |verified: Value| json!({ "sub": "x", "email": "Ann@example.org", "email_verified": verified });
        let ann = signs_in_by("issuer", &trusted, is(json!(true))).await;
        assert_eq!((&ann["isNewUser"], &ann["user"]["email"]), (&json!(true), &json!("Ann@example.org")));
        // The same address, where it is not believed: somebody else, who is not told anything.
        let unbelieved = signs_in_by("untrusted", &untrusted, is(json!(true))).await;
        let unverified = is(json!(false));
        let mut unverified_elsewhere = unverified.clone();
        unverified_elsewhere["sub"] = json!("y");
        let unverified = signs_in_by("other", &other, unverified_elsewhere).await;
        for stranger in [&unbelieved, &unverified] {
            assert_eq!(stranger["isNewUser"], true);
            assert!(stranger["user"].get("email").is_none() && stranger["user"]["id"] != ann["user"]["id"]);
        }
        // Verified by both, in another spelling, and as Apple writes it.
        let mut spelt = is(json!("true"));
        spelt["email"] = json!("ANN@Example.org");
        let same = signs_in_by("other", &other, spelt).await;
        assert_eq!((&same["isNewUser"], &same["user"]["id"]), (&json!(false), &ann["user"]["id"]));
        let listed = linked(&person(&node, &same)).await;
        assert_eq!(listed.iter().map(|one| one["provider"].as_str().unwrap()).collect::<Vec<_>>(), ["issuer", "other"]);
    }

    async fn an_address_alone_leaves_no_way_into_an_account_with_a_second_factor(stage: Stage) {
        let (issuer, other) = (Issuer::start().await, Issuer::start().await);
        let sections = [("issuer", &issuer), ("other", &other)].map(|(name, issuer)| {
            let mut section = issuer.section();
            section.trust_email = true;
            (name, section)
        });
        let node = node_with(&stage, sections).await;
        let claims = json!({ "sub": "ann", "email": "ann@example.org", "email_verified": true });
        let ann = person(&node, &signs_in(&node, &issuer, claims.clone()).await);
        let authenticator = Authenticator::of(&ann.calls("auth.setup2fa", json!({})).await.ok());
        ann.calls("auth.enable2fa", json!({ "code": authenticator.shows(&node, 0) })).await.ok();
        let providers = async || {
            let listed = linked(&ann).await;
            listed.iter().map(|one| one["provider"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        // Whoever has the mailbox, and not the app, is asked for its code, and has nothing of the account after that.
        let back = Browser::sets_out(&node, "other", "").await.signs_in_at(&other, claims).await;
        let asked = exchanges(&node, &back["code"]).await.ok();
        assert_eq!(asked["twoFactorRequired"], true);
        assert_eq!(providers().await, ["issuer"]);
        let shown = json!({ "challengeToken": asked["challengeToken"], "code": authenticator.shows(&node, 1) });
        assert_eq!(node.says("auth.verify2fa", shown).await.ok()["user"]["id"], json!(ann.id));
        assert_eq!(providers().await, ["issuer"], "whoever has shown both may link it by themselves");
    }
}
