//! Copies: how many, by which node, for how long, and what stands in them; whoever dies while making one.
//! Never the doors.

use super::*;
use std::io::{Cursor, Read};

#[actix_web::test]
async fn a_copy_at_a_time_and_a_few_a_day() {
    for (scratch, [one, other]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let id = ann.user().unwrap();
        let (first, second) = tokio::join!(one.leaving.exports.ask(&ann), other.leaving.exports.ask(&ann));
        assert!(first.is_ok() != second.is_ok(), "two at once are one");
        assert_eq!(code(first.and(second)), Some(ErrorCode::UserExportPending));
        for _ in 0..2 {
            one.leaving.exports.cancel(&ann, one.export(id).await.id).await.unwrap();
            one.clock.advance(Duration::from_secs(3600));
            one.leaving.exports.ask(&ann).await.unwrap();
        }
        one.leaving.exports.cancel(&ann, one.export(id).await.id).await.unwrap();
        // Taken back or not, three a day are three a day.
        let Err(actors::protocol::Error::Refused(refusal)) = one.leaving.exports.ask(&ann).await else { panic!() };
        assert_eq!(refusal.code, ErrorCode::UserExportBudget);
        assert_eq!(refusal.retry_after, Some(DAY - Duration::from_secs(2 * 3600)));
        one.clock.advance(DAY - Duration::from_secs(2 * 3600));
        one.leaving.exports.ask(&ann).await.unwrap();
        let listed = one.leaving.exports.list(id, true).await.unwrap().items;
        assert_eq!(listed.len(), 4);
        assert_eq!((listed[0].state, listed[3].state), (ExportState::Pending, ExportState::Gone));
        // What is somebody else's is not there.
        let bob = one.signs_in("Bob").await;
        let refused = one.leaving.exports.cancel(&bob, listed[0].id).await;
        assert_eq!(code(refused), Some(ErrorCode::UserExportNotFound));
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn one_node_makes_a_copy_and_another_takes_over_when_its_claim_has_ended() {
    for (scratch, [one, other]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        Box::pin(one.leaving.exports.ask(&ann)).await.unwrap();
        let [first, second] = [one.leaving.exports.claim("one"), other.leaving.exports.claim("other")].map(Box::pin);
        let (first, second) = tokio::join!(first, second);
        let claims: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
        assert_eq!(claims.len(), 1);
        let mut claim = claims.into_iter().next().unwrap();
        Box::pin(one.leaving.exports.add(&mut claim, vec![1; 10])).await.unwrap();
        one.clock.advance(LEASE / 2);
        Box::pin(one.leaving.exports.hold(&mut claim)).await.unwrap();
        one.clock.advance(LEASE - Duration::from_millis(1));
        assert!(Box::pin(other.leaving.exports.claim("other")).await.unwrap().is_none());
        one.clock.advance(Duration::from_millis(1));
        assert!(other.makes_export().await.unwrap());
        // The first one wakes up, and finds that it is another's.
        for lost in [
            Box::pin(one.leaving.exports.add(&mut claim, vec![2; 10])).await,
            Box::pin(one.leaving.exports.hold(&mut claim)).await,
            Box::pin(one.leaving.exports.finish(&claim)).await.map(drop),
        ] {
            assert_eq!(code(lost), Some(ErrorCode::ServerUnavailable));
        }
        assert!(zip::ZipArchive::new(Cursor::new(one.bytes(ann.user().unwrap()).await)).is_ok());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_that_is_taken_back_is_made_no_further_and_leaves_nothing() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        one.leaving.exports.ask(&ann).await.unwrap();
        let mut claim = one.leaving.exports.claim("one").await.unwrap().unwrap();
        one.leaving.exports.add(&mut claim, vec![1; 10]).await.unwrap();
        one.leaving.exports.cancel(&ann, claim.export).await.unwrap();
        one.leaving.exports.cancel(&ann, claim.export).await.unwrap();
        assert!(one.leaving.exports.add(&mut claim, vec![2; 10]).await.is_err());
        assert!(!one.makes_export().await.unwrap());
        assert!(export_part::Entity::find().all(one.db.read()).await.unwrap().is_empty());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_is_kept_for_a_week_and_its_row_for_a_month() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let id = ann.user().unwrap();
        one.leaving.exports.ask(&ann).await.unwrap();
        assert!(one.makes_export().await.unwrap() && !one.makes_export().await.unwrap());
        let listed = one.leaving.exports.list(id, true).await.unwrap().items.pop().unwrap();
        assert!(listed.url.is_some() && listed.expires_at == Some(one.clock.now().plus(7 * DAY)));
        one.clock.advance(7 * DAY);
        let listed = one.leaving.exports.list(id, true).await.unwrap().items.pop().unwrap();
        assert_eq!((listed.state, listed.url), (ExportState::Gone, None));
        one.makes_export().await.unwrap();
        assert!(export_part::Entity::find().all(one.db.read()).await.unwrap().is_empty());
        one.clock.advance(24 * DAY);
        one.makes_export().await.unwrap();
        assert!(one.leaving.exports.list(id, true).await.unwrap().items.is_empty());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_that_cannot_be_made_in_a_day_is_given_up() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let by_day = async || {
            one.leaving.exports.ask(&ann).await.unwrap();
            one.clock.advance(DAY);
        };
        // While no node was there to make it, nobody has tried.
        by_day().await;
        assert!(one.makes_export().await.unwrap());
        assert_eq!(one.export(ann.user().unwrap()).await.state, ExportState::Done);
        by_day().await;
        one.leaving.exports.claim("dies").await.unwrap().unwrap();
        one.clock.advance(LEASE);
        let bob = one.signs_in("Bob").await;
        one.leaving.exports.ask(&bob).await.unwrap();
        assert!(one.makes_export().await.unwrap());
        assert_eq!(one.export(bob.user().unwrap()).await.state, ExportState::Done, "who comes after it is not held up");
        let row = one.export(ann.user().unwrap()).await;
        assert_eq!((row.state, row.failure.as_deref()), (ExportState::Failed, Some("timed_out")));
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_that_cannot_be_made_holds_up_no_other() {
    for (scratch, [one, _]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        let bob = one.signs_in("Bob").await;
        one.leaving.exports.ask(&past.ann).await.unwrap();
        one.clock.advance(Duration::from_secs(1));
        one.leaving.exports.ask(&bob).await.unwrap();
        // What cannot be read: no node can make Ann's.
        let spoilt = "UPDATE users SET privacy = 'no json' WHERE id IN (SELECT user_id FROM devices)";
        one.db.write().execute_unprepared(spoilt).await.unwrap();
        assert!(one.makes_export().await.unwrap() && one.makes_export().await.unwrap());
        assert!(!one.makes_export().await.unwrap());
        assert_eq!(one.export(past.ann_id).await.state, ExportState::Pending);
        assert_eq!(one.export(bob.user().unwrap()).await.state, ExportState::Done);
        assert_eq!(one.leaving.meters.left_undone.get(), 1);
        assert_eq!(one.leaving.meters.exports_waiting.get(), 1);
        // It is tried again, after whoever came meanwhile.
        one.clock.advance(LEASE);
        one.db.write().execute_unprepared("UPDATE users SET privacy = '{}'").await.unwrap();
        assert!(one.makes_export().await.unwrap());
        assert_eq!(one.export(past.ann_id).await.state, ExportState::Done);
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_new_copy_takes_the_place_of_the_one_before() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        for _ in 0..2 {
            one.leaving.exports.ask(&ann).await.unwrap();
            assert!(one.makes_export().await.unwrap());
        }
        one.makes_export().await.unwrap();
        let listed = one.leaving.exports.list(ann.user().unwrap(), true).await.unwrap().items;
        assert_eq!(
            listed.iter().map(|export| export.state).collect::<Vec<_>>(),
            [ExportState::Done, ExportState::Gone]
        );
        let parts = export_part::Entity::find().all(one.db.read()).await.unwrap();
        assert!(parts.iter().all(|part| part.export_id == listed[0].id) && !parts.is_empty());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_piece_of_no_copy_goes_and_a_link_is_for_whoever_may_have_it() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        one.leaving.exports.ask(&ann).await.unwrap();
        one.makes_export().await.unwrap();
        let list = async |fresh| one.leaving.exports.list(ann.user().unwrap(), fresh).await.unwrap().items.remove(0);
        assert!(list(true).await.url.is_some() && list(false).await.url.is_none());
        let kept = export_part::Entity::find().all(one.db.read()).await.unwrap();
        let orphan = export_part::Model { export_id: ExportId::from_uuid(one.clock.uuid()), number: 0, bytes: vec![1] };
        export_part::Entity::insert(orphan.into_active_model()).exec_without_returning(one.db.write()).await.unwrap();
        one.makes_export().await.unwrap();
        assert_eq!(export_part::Entity::find().all(one.db.read()).await.unwrap(), kept);
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn what_somebody_said_and_felt_is_theirs_wherever_it_was() {
    for (scratch, [one, _]) in Bench::each().await {
        let (ann, bob) = (one.signs_in("Ann").await, one.signs_in("Bob").await.user().unwrap());
        let id = ann.user().unwrap();
        let group = one.creates(bob, ConversationKind::Group, &[id]).await;
        let anns = one.says(id, group, "Ann's first").await.id;
        let bobs = one.says(bob, group, "Bob's first").await.id;
        one.reacts(id, bobs).await;
        one.reacts(bob, anns).await;
        let conversations = &one.leaving.conversations;
        let copied = async || {
            one.leaving.exports.ask(&ann).await.unwrap();
            one.makes_export().await.unwrap();
            one.clock.advance(DAY);
            let files = files(one.bytes(id).await);
            let spoken = files[&format!("messages/{group}.json")].as_array().unwrap().clone();
            let reactions = files["reactions.json"].as_array().unwrap();
            assert_eq!(reactions.len(), 1);
            assert_eq!((&reactions[0]["messageId"], &reactions[0]["emoji"]), (&json!(bobs), &json!("👍")));
            spoken
        };
        let texts = |spoken: &[Value]| spoken.iter().map(|said| said["text"].clone()).collect::<Vec<_>>();
        conversations.leave(id, LeaveConversation { conversation_id: group }).await.unwrap();
        let spoken = copied().await;
        assert_eq!(texts(&spoken), ["Ann's first"]);
        assert_eq!((spoken[0].get("reactions"), &spoken[0]["senderName"]), (None, &json!("Ann")));
        one.says(bob, group, "while she was away").await;
        conversations
            .add_participant(bob, AddParticipant { conversation_id: group, user_ids: vec![id] })
            .await
            .unwrap();
        one.says(bob, group, "welcome back").await;
        assert_eq!(texts(&copied().await), ["Ann's first", "welcome back"]);
        scratch.drop().await;
    }
}

/// The files of a ZIP, as JSON.
fn files(zip: Vec<u8>) -> std::collections::BTreeMap<String, Value> {
    let mut zip = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
    let count = zip.len();
    let read = |at| {
        let mut file = zip.by_index(at).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        (file.name().unwrap().into_owned(), serde_json::from_str(&text).unwrap())
    };
    (0..count).map(read).collect()
}

#[actix_web::test]
async fn a_copy_holds_what_its_owner_may_see_and_no_secret() {
    for (scratch, [one, _]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        one.leaving.exports.ask(&past.ann).await.unwrap();
        one.makes_export().await.unwrap();
        let files = files(one.bytes(past.ann_id).await);
        let lengths = [
            ("sessions.json", 1),
            ("security-events.json", 1),
            ("devices.json", 1),
            ("contacts.json", 1),
            ("blocked.json", 1),
            ("reports.json", 1),
            ("conversations.json", 3),
            (&format!("messages/{}.json", past.pair), 1),
            (&format!("messages/{}.json", past.group), 2),
            // Where she has left, only what she said herself.
            (&format!("messages/{}.json", past.left), 1),
        ];
        for (name, length) in lengths {
            assert_eq!(files[name].as_array().unwrap().len(), length, "{name}: {}", files[name]);
        }
        let spoken = &files[&format!("messages/{}.json", past.group)];
        assert_eq!((&spoken[1]["text"], &spoken[1]["senderName"]), (&"Bob's words".into(), &"Bob".into()));
        assert_eq!(spoken[1]["reactions"][0]["emoji"], "👍");
        let pair = files["conversations.json"].as_array().unwrap().iter().find(|item| item["kind"] == "private");
        assert_eq!(pair.unwrap()["with"]["displayName"], "Bob");
        assert_eq!(files["profile.json"]["phoneNumber"], one.row(past.ann_id).await.phone.unwrap());
        assert_eq!(files["manifest.json"]["userRev"], one.row(past.ann_id).await.user_rev);
        assert_eq!(files["sign-in.json"]["identities"][0]["email"], "ann@example.org");
        let all = serde_json::to_string(&files).unwrap();
        assert_eq!(files["address-book.json"][0]["name"], "the plumber");
        assert_eq!(files["profile.json"]["roles"][0]["role"], "operator");
        // Everything that is there the manifest names, and what it names is there.
        let named = files["manifest.json"]["files"].as_object().unwrap();
        let is_spoken = |name: &str| name.starts_with("messages/");
        let named = named.keys().filter(|name| !is_spoken(name));
        let there = files.keys().filter(|name| !is_spoken(name) && *name != "manifest.json");
        assert!(named.eq(there), "{files:?}");
        for secret in ["argon2", "a-push-token", "a-voip-token", "After Ann", "sealed", "hash"] {
            let whose = files.iter().find(|(_, json)| json.to_string().contains(secret));
            let allowed = secret == "hash" && whose.is_some_and(|(name, _)| name == "manifest.json");
            assert!(!all.contains(secret) || allowed, "{secret} stands in {whose:?}");
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_dies_while_making_a_copy_another_makes_it() {
    for (scratch, [one, other]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        let mut deaths = 0;
        for polls in (0..).step_by(9) {
            let ann = one.again(past.ann_id).await;
            one.clock.advance(DAY);
            one.leaving.exports.ask(&ann).await.unwrap();
            let made = Box::pin(dies_after(polls, one.makes_export())).await;
            one.clock.advance(LEASE);
            other.makes_export().await.unwrap();
            let files = files(one.bytes(past.ann_id).await);
            assert_eq!(files.len(), 17);
            if made.is_some() {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 3, "{deaths}");
        scratch.drop().await;
    }
}
