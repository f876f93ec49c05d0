//! Reports: what people tell the operators of each other, and nobody else hears.

use crate::support::speech::id_of;
use crate::support::*;

async fn is_operator(stage: &Stage, whom: &Person) {
    let done = process::runs(stage, &["admin", "grant", &whom.id.to_string(), "operator"], &[]).await;
    assert!(done.status.success(), "{}", done.log);
}

stories! {
    async fn operators_read_what_people_report(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, olga] = node.people(["ann", "bob", "olga"]).await;
        let pair = ann.meets(&bob).await;
        let message: MessageId = id_of(&bob.says_in(pair, "buy this").await);
        is_operator(&stage, &olga).await;
        let bobs = bob.connects().await;
        for door in ann.doors().await {
            let made = door.calls("users.report", json!({ "messageId": message, "reason": "spam" })).await.ok();
            let data = json!({ "userId": bob.id, "reason": "childSafety", "text": "look at this" });
            let other = door.calls("users.report", data).await.ok();
            door.calls("users.listReports", json!({})).await.is_refused(ErrorCode::AuthForbidden);
            for operator in olga.doors().await {
                let first = operator.calls("users.listReports", json!({ "limit": 1 })).await.ok();
                let newest = json!({
                    "reportId": other["reportId"], "reportedAt": other["reportedAt"], "reporterId": ann.id,
                    "userId": bob.id, "reason": "childSafety", "text": "look at this",
                });
                assert_eq!(first["items"], json!([newest]));
                let query = json!({ "limit": 1, "cursor": first["nextCursor"], "userId": bob.id });
                let next = operator.calls("users.listReports", query).await.ok();
                let item = &next["items"][0];
                assert_eq!((&item["reportId"], &item["userId"]), (&made["reportId"], &json!(bob.id)));
                assert_eq!((&item["message"]["text"], &item["reason"]), (&json!("buy this"), &json!("spam")));
                let of_ann = operator.calls("users.listReports", json!({ "userId": ann.id })).await.ok();
                assert_eq!(of_ann["items"], json!([]));
                let bad = operator.calls("users.listReports", json!({ "cursor": "x" })).await;
                bad.is_refused_for(ErrorCode::RequestInvalid, "cursor");
            }
        }
        bobs.is_served().await;
        assert!(!bobs.heard().iter().any(|frame| frame.to_string().contains("spam")));
    }

    async fn what_was_reported_is_kept_whatever_becomes_of_it(stage: Stage) {
        let node = Node::start(&stage).await;
        let [ann, bob, olga] = node.people(["ann", "bob", "olga"]).await;
        is_operator(&stage, &olga).await;
        let group = bob.creates_group("tea", &[&ann]).await;
        let said: MessageId = id_of(&bob.says_in(group, "buy this").await);
        let other: MessageId = id_of(&bob.says_in(group, "and this").await);
        let report = |id: MessageId| json!({ "messageId": id, "reason": "spam" });
        ann.calls("users.report", report(said)).await.ok();
        bob.edits(said, "good morning").await.ok();
        let newest = async || olga.calls("users.listReports", json!({ "limit": 1 })).await.ok()["items"][0].take();
        let item = newest().await;
        assert_eq!((&item["evidence"]["text"], &item["message"]["text"]), (&json!("buy this"), &json!("good morning")));
        assert!(item["evidence"]["rev"].as_i64() < item["message"]["rev"].as_i64());
        bob.deletes(said).await.ok();
        assert_eq!(newest().await["evidence"]["text"], "buy this");
        // Whoever was removed may still report what they saw, and nothing that came later.
        node.clock.advance(secs(1));
        bob.removes(&ann, group).await.ok();
        node.clock.advance(secs(1));
        let later: MessageId = id_of(&bob.says_in(group, "later").await);
        ann.calls("users.report", report(later)).await.is_refused(ErrorCode::MessageNotFound);
        ann.calls("users.report", report(other)).await.ok();
        assert_eq!(newest().await["evidence"]["text"], "and this");
        bob.edits(other, "good evening").await.ok();
        bob.edits(later, "and later").await.ok();
        ann.calls("users.report", report(later)).await.is_refused(ErrorCode::MessageNotFound);
        ann.calls("users.report", report(other)).await.ok();
        assert_eq!(newest().await["evidence"]["text"], "good evening");
    }

    async fn one_reports_what_one_sees_and_not_without_end(stage: Stage) {
        let node = Node::start_with(&stage, |config| config.limits.reports_per_day = 2).await;
        let [ann, bob, cid] = node.people(["ann", "bob", "cid"]).await;
        let group = bob.creates_group("tea", &[&cid]).await;
        let before: MessageId = id_of(&bob.says_in(group, "before").await);
        bob.adds(&[&ann], group).await.ok();
        let after: MessageId = id_of(&bob.says_in(group, "after").await);
        let own: MessageId = id_of(&ann.says_in(group, "own").await);
        let nobody = "01990000-0000-7000-8000-000000000001";
        let spam = |data: Value| {
            let mut data = data;
            data["reason"] = json!("spam");
            data
        };
        for door in ann.doors().await {
            for (data, code) in [
                (json!({ "messageId": before }), ErrorCode::MessageNotFound),
                (json!({ "messageId": nobody }), ErrorCode::MessageNotFound),
                (json!({ "userId": nobody }), ErrorCode::UserNotFound),
            ] {
                door.calls("users.report", spam(data)).await.is_refused(code);
            }
            for (data, field) in [
                (spam(json!({})), "userId"),
                (spam(json!({ "userId": ann.id })), "userId"),
                (spam(json!({ "messageId": own })), "userId"),
                (spam(json!({ "messageId": after, "userId": cid.id })), "userId"),
                (json!({ "userId": bob.id, "reason": "boring" }), "reason"),
                (spam(json!({ "userId": bob.id, "text": "x".repeat(2_001) })), "text"),
            ] {
                door.calls("users.report", data).await.is_refused_for(ErrorCode::RequestInvalid, field);
            }
            door.calls("users.report", spam(json!({ "messageId": after, "userId": bob.id }))).await.ok();
        }
        let third = || spam(json!({ "userId": cid.id }));
        let refused = ann.calls("users.report", third()).await.is_refused(ErrorCode::ReportTooMany);
        assert_eq!(refused["retryAfterMs"], 24 * 3600 * 1000);
        node.clock.advance(secs(24 * 3600));
        ann.refreshes().await;
        ann.calls("users.report", third()).await.ok();
    }
}
