//! Flows that are under way: what is kept of them, where, and at which node they end.
//! Never what a provider says.

use super::{allow, node_at};
use crate::support::browser::exchanges;
use crate::support::*;
use entities::{Db, Options, challenge};
use sea_orm::{EntityTrait, PaginatorTrait};
use wiremock::ResponseTemplate;

async fn database(stage: &Stage) -> Db {
    Db::open(&Options { max_connections: 1, ..Options::new(stage.database_url()) }).await.unwrap()
}

stories! {
    async fn nothing_is_kept_of_a_flow_before_a_provider_has_vouched(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        let db = database(&stage).await;
        let kept = async || challenge::Entity::find().count(db.read()).await.unwrap();
        let sets_out = async || Browser::sets_out(&node, "issuer", "").await;

        let lost = sets_out().await;
        let mut lured = sets_out().await;
        lured.cookie.clone_from(&lost.cookie);
        assert_eq!(lured.signs_in_at(&issuer, json!({})).await["error"], "auth.identity_invalid");
        assert_eq!(sets_out().await.comes_back("error=access_denied").await["error"], "auth.provider_refused");
        let unknown = ResponseTemplate::new(400).set_body_json(json!({ "error": "invalid_grant" }));
        issuer.answers(Some(unknown));
        assert_eq!(sets_out().await.comes_back("code=guessed").await["error"], "auth.identity_invalid");
        assert_eq!(kept().await, 0);

        issuer.answers(None);
        let browser = sets_out().await;
        let code = browser.signs_in_at(&issuer, json!({})).await["code"].clone();
        assert_eq!(kept().await, 2, "that it has ended, and what its client exchanges");
        exchanges(&node, &code).await.ok();
        db.close().await.unwrap();
    }

    async fn a_flow_that_comes_back_twice_at_once_ends_once(stage: Stage) {
        let issuer = Issuer::start().await;
        let node = node_at(&stage, &issuer).await;
        for _ in 0..4 {
            let browser = Browser::sets_out(&node, "issuer", "").await;
            issuer.lets_in(&node, &browser.asked["code_challenge"], json!({ "nonce": browser.asked["nonce"] }));
            let query = format!("code=theirs&state={}", browser.asked["state"]);
            let back = futures_util::future::join_all((0..3).map(|_| browser.calls_back(&query))).await;
            let with_code = back.iter().filter(|reply| {
                let location = reply.header("location").unwrap_or_default();
                assert!(reply.status == 429 || location.contains("code=") != location.contains("error="), "{location}");
                location.contains("code=")
            });
            assert_eq!(with_code.count(), 1);
        }
    }
}

fleet_stories! {
    async fn a_flow_ends_at_any_node_also_when_its_key_was_replaced(stage: Stage) {
        let issuer = Issuer::start().await;
        let sections = [("issuer", issuer.section())];
        let fleet = Fleet::start_with(&stage, 2, |config| allow(config, sections)).await;
        let before = Browser::sets_out(&fleet[0], "issuer", "").await;
        fleet.clock.advance(secs(300));
        let db = database(&stage).await;
        let (which, mut said) = (quckchat::admin::Which { signing: false, sealing: true }, Vec::new());
        quckchat::admin::rotate_keys(&stage.config(), &db, fleet.clock.clone(), which, &mut said).await.unwrap();
        db.close().await.unwrap();

        // A node that starts now seals with the new key; the others have not read it yet.
        let third = Node::start_with(&stage, |config| allow(config, [("issuer", issuer.section())])).await;
        third.clock.advance(secs(300));
        let after = Browser::sets_out(&third, "issuer", "").await;
        for (browser, subject) in [(before, "ann"), (after, "bob")] {
            let browser = browser.at(&fleet[1]);
            let code = browser.signs_in_at(&issuer, json!({ "sub": subject })).await["code"].clone();
            exchanges(&fleet[0], &code).await.ok();
            let again = browser.at(&fleet[0]).calls_back(&format!("code=theirs&state={}", browser.asked["state"])).await;
            again.answer().is_refused(ErrorCode::AuthChallengeExhausted);
        }
    }
}
