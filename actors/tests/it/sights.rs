//! What of whom they watch each may hear, as privacy, blocks and what they share change.
//! Never how somebody is: see `presence`.

use super::presence::{Town, caller, device};
use super::support::*;
use entities::{Audience, Privacy, participant, user};
use sea_orm::{ActiveModelTrait, ConnectionTrait, Set};
use view::Status;

on_both! {
    async fn who_may_see_somebody_no_more_is_told_so_by_a_hint_or_by_the_sweep(stage: &Stage) {
        let bus = LocalBus::new();
        let town = Town::joined_by(stage, &bus).await;
        let (one, two, bob) = (&town.one, &town.two, town.bob);
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        for lost in [false, true] {
            bus.lose_hints(lost);
            for (audience, shown) in [(Audience::Nobody, "offline"), (Audience::Everyone, "online")] {
                let privacy = Privacy { last_seen: audience, ..Privacy::default() };
                let row = user::ActiveModel { id: Set(bob), privacy: Set(privacy), ..Default::default() };
                row.update(two.db.write()).await.unwrap();
                let now = actors::clock::Clock::now(two.clock.as_ref());
                actors::privacy::audience_changed(two.db.write(), now, &[bob]).await.unwrap();
                two.entries.audience_changed(bob);
                assert!(town.watcher.hears().is_empty(), "not before the rows were read");
                if lost {
                    one.sweeps().await;
                } else {
                    one.mends().await;
                }
                let told = town.watcher.hears();
                let statuses: Vec<&Value> =
                    told.iter().filter(|told| told["event"] == "presence.changed").map(|told| &told["data"]).collect();
                assert_eq!(statuses, [&json!({ "userId": bob, "status": shown })], "lost: {lost}");
                // Once, however often it is looked at.
                one.sweeps().await;
                assert!(town.heard().await.is_empty());
            }
            // What changes while somebody is hidden is not told; what they find then is how it is.
            town.sets(one, Status::Online).await;
        }
    }

    async fn nobody_is_told_what_changes_nothing_for_them(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, two, bob) = (&town.one, &town.two, town.bob);
        let cid = one.user("cid").await;
        one.group(town.watcher.user, &[bob, cid]).await;
        let cids = Ear::new(one, cid);
        one.presences.watch(&caller(&cids), WatchPresence { user_ids: vec![bob] }).await.unwrap();
        let lets = async |privacy: Privacy| {
            let row = user::ActiveModel { id: Set(bob), privacy: Set(privacy), ..Default::default() };
            row.update(two.db.write()).await.unwrap();
            two.entries.audience_changed(bob);
            one.mends().await;
        };
        let heard = |ear: &Ear| -> Vec<String> {
            ear.hears().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
        };
        lets(Privacy::default()).await;
        assert!(heard(&town.watcher).is_empty() && heard(&cids).is_empty());
        lets(Privacy { called: Audience::Nobody, ..Privacy::default() }).await;
        assert!(heard(&town.watcher).is_empty() && heard(&cids).is_empty(), "nothing that is shown");
        let for_contacts = Privacy { phone_number: Audience::Contacts, bio: Audience::Contacts, ..Privacy::default() };
        lets(for_contacts).await;
        assert_eq!((heard(&town.watcher), heard(&cids)), (vec!["user.updated".to_owned()], vec!["user.updated".into()]));
        // Whom it concerns is told, and nobody else.
        let entry = entities::contact::ActiveModel {
            owner_id: Set(bob),
            user_id: Set(cid),
            name: Set(None),
            favourite: Set(false),
            suggested: Set(false),
            removed: Set(false),
            by_number: Set(false),
            user_rev: Set(1),
            created_at: Set(Timestamp::EPOCH),
        };
        entry.insert(two.db.write()).await.unwrap();
        lets(for_contacts).await;
        assert_eq!((heard(&town.watcher), heard(&cids)), (Vec::new(), vec!["user.updated".to_owned()]));
    }

    async fn a_block_is_looked_at_for_its_two_alone_by_a_hint_or_by_the_sweep(stage: &Stage) {
        let bus = LocalBus::new();
        let town = Town::joined_by(stage, &bus).await;
        let (one, two, bob, ann) = (&town.one, &town.two, town.bob, town.watcher.user);
        town.watcher.socket.attach(Topic::User(ann), ann).await;
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        for lost in [false, true] {
            bus.lose_hints(lost);
            for (removed, status) in [(false, "offline"), (true, "online")] {
                two.db.write().execute_unprepared("DELETE FROM blocks").await.unwrap();
                let now = actors::clock::Clock::now(two.clock.as_ref());
                let block = entities::block::ActiveModel {
                    owner_id: Set(bob),
                    user_id: Set(ann),
                    removed: Set(removed),
                    user_rev: Set(1),
                    created_at: Set(Timestamp::EPOCH),
                    changed_at: Set(now),
                };
                block.insert(two.db.write()).await.unwrap();
                two.entries.standing_changed(bob, ann);
                if lost {
                    one.sweeps().await;
                } else {
                    one.mends().await;
                }
                let told = town.watcher.hears();
                let told: Vec<&Value> = told.iter().filter(|it| it["event"] == "presence.changed").collect();
                assert_eq!(told.len(), 1, "lost: {lost}, {told:?}");
                assert_eq!(told[0]["data"]["status"], status);
            }
        }
    }

    async fn that_a_request_was_taken_up_is_found_by_the_sweep_where_the_hint_is_lost(stage: &Stage) {
        let bus = LocalBus::new();
        let one = Node::named(stage, &bus, "one").await;
        let two = Node::start(stage, Setting::named(&bus, "two").at(&one.clock)).await;
        let [ann, bob] = one.users(["ann", "bob"]).await;
        let chat = one.group(ann, &[bob]).await;
        let asked = participant::ActiveModel { request: Set(true), ..one.member(chat, bob).await.into() };
        asked.update(one.db.write()).await.unwrap();
        let watcher = Ear::new(&one, ann);
        one.presences.watch(&caller(&watcher), WatchPresence { user_ids: vec![bob] }).await.unwrap();
        two.presences.opened(bob, device()).await;
        one.sweeps().await;
        assert!(watcher.hears().is_empty(), "nothing, before he answers");
        bus.lose_hints(true);
        two.says(chat, bob, "hello").await;
        one.sweeps().await;
        let told = watcher.hears();
        let statuses = told.iter().filter(|told| told["event"] == "presence.changed").map(|told| &told["data"]["status"]);
        assert_eq!(statuses.collect::<Vec<_>>(), ["online"]);
    }

    async fn whoever_only_asks_hears_nothing_until_they_share_more_or_less(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, bob, ann) = (&town.one, town.bob, town.watcher.user);
        one.presences.opened(bob, device()).await;
        assert_eq!(town.heard().await, ["online"]);
        // As if all that they share were a request of hers.
        let request = async |is: bool| {
            let is = if is { "TRUE" } else { "FALSE" };
            let sql = format!("UPDATE participants SET request = {is} WHERE role = 'member'");
            one.db.write().execute_unprepared(&sql).await.unwrap();
        };
        request(true).await;
        one.presences.review_of(ann, vec![bob]).await.unwrap();
        one.is_quiet().await;
        let told = town.watcher.hears();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0]["data"], json!({ "userId": bob, "status": "offline" }));
        town.sets(one, Status::Busy).await;
        one.entries.profile_changed(bob);
        assert!(town.heard().await.is_empty());
        assert_eq!(town.watcher.socket.watched().len(), 1);
        // They come into one group: nothing tells it but the rows.
        request(false).await;
        one.sweeps().await;
        let told = town.watcher.hears();
        assert!(told.iter().any(|told| told["data"] == json!({ "userId": bob, "status": "busy" })), "{told:?}");
    }

    async fn what_changes_while_somebody_is_hidden_is_found_when_they_are_shown_again(stage: &Stage) {
        let town = Town::on(stage).await;
        let (one, bob) = (&town.one, town.bob);
        let lets = async |last_seen| {
            let privacy = Privacy { last_seen, ..Privacy::default() };
            let row = user::ActiveModel { id: Set(bob), privacy: Set(privacy), ..Default::default() };
            row.update(one.db.write()).await.unwrap();
            one.entries.audience_changed(bob);
            one.mends().await;
        };
        lets(Audience::Nobody).await;
        town.watcher.hears();
        one.presences.opened(bob, device()).await;
        town.sets(one, Status::Busy).await;
        assert!(town.heard().await.is_empty());
        let hidden = view::Presence { user_id: bob, status: Status::Offline, last_seen_at: None };
        assert_eq!(town.looks(one).await, hidden);
        lets(Audience::Everyone).await;
        let told = town.watcher.hears();
        assert!(told.iter().any(|told| told["data"] == json!({ "userId": bob, "status": "busy" })), "{told:?}");
        town.sets(one, Status::Away).await;
        assert_eq!(town.heard().await, ["away"]);
    }
}
