//! The end of accounts: its grace, what it leaves, and that it comes about whoever dies while purging.
//! Never the doors.

use super::*;

/// The columns that still name somebody, `table.column`.
async fn traces(db: &Db, of: UserId) -> Vec<String> {
    let backend = db.backend();
    let columns = match backend {
        Backend::Sqlite => {
            "SELECT m.name, c.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'"
        }
        Backend::Postgres => {
            "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public'"
        }
    };
    let rows = db.read().query_all_raw(backend.statement(columns, [])).await.unwrap();
    let mut found = Vec::new();
    for row in rows {
        let (table, column): (String, String) = (row.try_get_by_index(0).unwrap(), row.try_get_by_index(1).unwrap());
        if !["user_id", "owner_id", "sender_id", "reporter_id"].contains(&column.as_str()) {
            continue;
        }
        let user = entities::db::parameter(backend, 1, "uuid");
        let sql = format!("SELECT 1 FROM {table} WHERE {column} = {user} LIMIT 1");
        if db.read().query_one_raw(backend.statement(sql, [of.into()])).await.unwrap().is_some() {
            found.push(format!("{table}.{column}"));
        }
    }
    found.sort_unstable();
    found
}

/// What an account leaves behind that has ended.
const LEFT: [&str; 6] = [
    "audit_events.user_id",
    "blocks.user_id",
    "contacts.user_id",
    "messages.sender_id",
    "participants.user_id",
    "reports.reporter_id",
];

/// Checks that nothing of Ann is left but what is to be.
async fn is_purged(bench: &Bench, past: &Past, messages: LeftMessages) {
    let row = bench.row(past.ann_id).await;
    let (user_rev, created_at, updated_at) = (row.user_rev, row.created_at, row.updated_at);
    let left_at = row.left_at;
    assert!(left_at.is_some());
    let empty = user::Model {
        user_rev,
        updated_at,
        left_at,
        profile_user_rev: row.profile_user_rev,
        ..user::Model::new(past.ann_id, created_at)
    };
    assert_eq!(row, empty);
    assert_eq!(traces(&bench.db, past.ann_id).await, LEFT);
    let events = audit_event::of_user(past.ann_id).all(bench.db.read()).await.unwrap();
    assert!(events.iter().any(|event| event.kind == "account_deleted"));
    assert!(events.iter().all(|event| event.address.is_none() && event.session_id.is_none() && event.detail == "{}"));
    let hash = contact_number::of_owner(past.bob).all(bench.db.read()).await.unwrap();
    assert!(sign_in_delay::Entity::find().all(bench.db.read()).await.unwrap().is_empty());
    assert!(hash.is_empty() && otp_verification::Entity::find().all(bench.db.read()).await.unwrap().is_empty());

    // Bob keeps his conversations, and learns from his lists.
    let bob = bench.row(past.bob).await;
    for row in contact::of_owner(past.bob).all(bench.db.read()).await.unwrap() {
        assert!(row.removed && row.name.is_none() && row.user_rev > 1 && row.user_rev <= bob.user_rev);
    }
    for row in block::Entity::find().all(bench.db.read()).await.unwrap() {
        assert!(row.removed && row.user_rev > 1 && row.user_rev <= bob.user_rev);
    }
    for conversation in [past.pair, past.group, past.left] {
        let members = participant::current_in(conversation).all(bench.db.read()).await.unwrap();
        assert_eq!(members.iter().map(|row| row.user_id).collect::<Vec<_>>(), [past.bob]);
        let all = message::after(conversation, 0).all(bench.db.read()).await.unwrap();
        for row in &all {
            let removed = row.sender_id == past.ann_id && messages == LeftMessages::Remove;
            assert_eq!((row.text.is_none(), row.deleted_at.is_some()), (removed, removed));
        }
        // Every change has a number of its own, and none is above the head.
        let head = conversation::by_id(conversation).one(bench.db.read()).await.unwrap().unwrap();
        let rows = participant::in_conversation(conversation).all(bench.db.read()).await.unwrap();
        let mut revs: Vec<i64> = all.iter().map(|row| row.rev).chain(rows.iter().map(|row| row.rev)).collect();
        let count = revs.len();
        revs.sort_unstable();
        revs.dedup();
        assert!(revs.len() == count && revs.last() <= Some(&head.last_rev));
    }
    assert!(reaction::on([past.bobs]).all(bench.db.read()).await.unwrap().is_empty());
    let owner = participant::of(past.group, past.bob).one(bench.db.read()).await.unwrap().unwrap();
    assert_eq!(owner.role, Role::Owner);
}

#[actix_web::test]
async fn who_asks_for_the_end_has_a_grace_and_is_alone() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let id = ann.user().unwrap();
        one.again(id).await;
        let (first, news) = one.leaving.ask_for_deletion(&ann, LeftMessages::Keep).await.unwrap();
        assert!(news.is_some());
        assert_eq!(first.leaves_at, one.clock.now().plus(GRACE));
        let live = session::live_of_user(id).all(one.db.read()).await.unwrap();
        assert_eq!(live.iter().map(|row| row.id).collect::<Vec<_>>(), [ann.identity.unwrap().session]);
        one.clock.advance(DAY);
        // Asked again, it comes no later; and she may think otherwise of her messages.
        let (again, news) = one.leaving.ask_for_deletion(&ann, LeftMessages::Remove).await.unwrap();
        assert!(news.is_none(), "it is no news");
        assert_eq!((again.leaves_at, again.messages), (first.leaves_at, LeftMessages::Remove));
        assert_eq!(one.row(id).await.leaves_messages.as_deref(), Some("remove"));
        one.clock.advance(GRACE - DAY - Duration::from_millis(1));
        assert!(!one.purges().await.unwrap());
        let kept = one.leaving.keep_account(&ann).await.unwrap();
        assert_eq!((kept.leaves_at, kept.deleted), (None, false));
        let rev = one.row(id).await.user_rev;
        one.leaving.keep_account(&ann).await.unwrap();
        assert_eq!(one.row(id).await.user_rev, rev, "there is nothing to undo any more");
        one.clock.advance(GRACE);
        assert!(!one.purges().await.unwrap());
        one.is_due(&ann, LeftMessages::Keep).await;
        assert!(one.purges().await.unwrap());
        for refused in [
            one.leaving.keep_account(&ann).await.map(drop),
            one.leaving.ask_for_deletion(&ann, LeftMessages::Keep).await.map(drop),
        ] {
            assert_eq!(code(refused), Some(ErrorCode::UserNotFound));
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn an_account_that_ends_leaves_what_its_owner_chose_and_nothing_else() {
    for (scratch, [one, _]) in Bench::each().await {
        for messages in [LeftMessages::Keep, LeftMessages::Remove] {
            let past = Box::pin(a_past(&one)).await;
            one.leaving.exports.ask(&past.ann).await.unwrap();
            one.makes_export().await.unwrap();
            one.is_due(&past.ann, messages).await;
            assert!(one.purges().await.unwrap() && !one.purges().await.unwrap());
            // At once all but the sessions, by which other nodes learn of their end.
            let mut left = LEFT.to_vec();
            left.push("sessions.user_id");
            assert_eq!(traces(&one.db, past.ann_id).await, left);
            // What was under way writes late, and is found.
            let late = user::ActiveModel { bio: Set("late".to_owned()), ..Default::default() };
            let own = user::COLUMN.id.eq(past.ann_id);
            user::Entity::update_many().set(late).filter(own).exec(one.db.write()).await.unwrap();
            one.purges_all().await;
            Box::pin(is_purged(&one, &past, messages)).await;
            assert!(!one.purges().await.unwrap());
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn of_two_nodes_one_purges_and_the_other_when_that_one_is_gone() {
    for (scratch, [one, other]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        one.is_due(&past.ann, LeftMessages::Remove).await;
        let (first, second) = tokio::join!(one.leaving.claim_purge(), other.leaving.claim_purge());
        let claims: Vec<_> = [first.unwrap(), second.unwrap()].into_iter().flatten().collect();
        assert_eq!(claims.len(), 1);
        one.clock.advance(LEASE - Duration::from_millis(1));
        assert!(!other.purges().await.unwrap());
        one.clock.advance(Duration::from_millis(1));
        let taken_over = other.leaving.claim_purge().await.unwrap().unwrap();
        // The first one goes on with what it believes to be its own, at the same time: nothing is harmed by it.
        let stale = claims.into_iter().next().unwrap();
        let (first, second) =
            tokio::join!(Box::pin(one.leaving.purge(stale)), Box::pin(other.leaving.purge(taken_over)));
        assert_eq!((code(first), code(second)), (Some(ErrorCode::ServerUnavailable), None));
        other.purges_all().await;
        Box::pin(is_purged(&one, &past, LeftMessages::Remove)).await;
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn whoever_dies_while_purging_another_goes_on() {
    for (scratch, [one, other]) in Bench::each().await {
        let mut deaths = 0;
        for polls in (0..).step_by(5) {
            let past = Box::pin(a_past(&one)).await;
            one.is_due(&past.ann, LeftMessages::Remove).await;
            let done = Box::pin(dies_after(polls, one.purges())).await;
            one.clock.advance(LEASE);
            other.purges_all().await;
            Box::pin(is_purged(&one, &past, LeftMessages::Remove)).await;
            if done.is_some() {
                break;
            }
            deaths += 1;
        }
        // How often a future is polled is up to the machine; a purge has some forty statements.
        assert!(deaths > 5, "{deaths}");
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn two_who_ask_at_once_are_told_once() {
    for (scratch, [one, other]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let (first, second) = tokio::join!(
            one.leaving.ask_for_deletion(&ann, LeftMessages::Keep),
            other.leaving.ask_for_deletion(&ann, LeftMessages::Keep)
        );
        assert!(first.unwrap().1.is_some() != second.unwrap().1.is_some());
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn what_opens_doors_goes_first_and_who_cannot_be_purged_comes_last() {
    for (scratch, [one, _]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        // A conversation that cannot be left: its row is gone.
        let lost = ConversationId::from_uuid(one.clock.uuid());
        let mut row = participant::of(past.pair, past.ann_id).one(one.db.read()).await.unwrap().unwrap();
        row.conversation_id = lost;
        participant::Entity::insert(row.into_active_model()).exec_without_returning(one.db.write()).await.unwrap();
        one.leaving.ask_for_deletion(&past.ann, LeftMessages::Keep).await.unwrap();
        one.clock.advance(Duration::from_secs(1));
        let cid = one.signs_in("Cid").await;
        one.is_due(&cid, LeftMessages::Keep).await;
        assert!(one.purges().await.unwrap() && one.purges().await.unwrap() && !one.purges().await.unwrap());
        assert_eq!(one.leaving.meters.left_undone.get(), 1);
        assert!(one.row(cid.user().unwrap()).await.left_at.is_some());
        let left = traces(&one.db, past.ann_id).await;
        for table in
            ["passwords", "second_factors", "devices", "identities", "contact_numbers", "exports", "user_roles"]
        {
            assert!(!left.iter().any(|trace| trace.starts_with(table)), "{table} of {left:?}");
        }
        one.clock.advance(LEASE);
        one.leaving.count_due().await.unwrap();
        let (due, oldest) = (one.leaving.meters.accounts_due.get(), one.leaving.meters.accounts_due_for.get());
        assert_eq!((due, oldest), (2, 60));
        participant::Entity::delete_by_id((lost, past.ann_id)).exec(one.db.write()).await.unwrap();
        one.purges_all().await;
        Box::pin(is_purged(&one, &past, LeftMessages::Keep)).await;
        assert_eq!(one.leaving.meters.accounts_due.get(), 0);
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_number_that_very_many_list_goes_out_of_their_books_in_portions() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        let id = ann.user().unwrap();
        let number_hash = one.leaving.hash_of_number(&one.row(id).await.phone.unwrap());
        let lists = |_| contact_number::Model {
            owner_id: one.ids().user_id(),
            number_hash: number_hash.clone(),
            listed: true,
            listed_rev: 0,
            sealed_name: None,
            first_at: one.clock.now(),
        };
        for rows in [500, 500, 201] {
            let rows = (0..rows).map(lists).map(IntoActiveModel::into_active_model).collect::<Vec<_>>();
            contact_number::Entity::insert_many(rows).exec_without_returning(one.db.write()).await.unwrap();
        }
        let left = async || contact_number::listing(&number_hash).count(one.db.read()).await.unwrap();
        one.is_due(&ann, LeftMessages::Keep).await;
        let mut seen = std::collections::BTreeSet::new();
        let mut purge = Box::pin(one.purges());
        loop {
            let done = poll_fn(|context| Poll::Ready(purge.as_mut().poll(context).is_ready())).await;
            // In this order, for a transaction may commit between the two.
            let (has_ended, left) = (one.row(id).await.left_at.is_some(), left().await);
            assert!(!has_ended || left == 0, "while it stands somewhere, it is hers: so whoever goes on finds it");
            seen.insert(left);
            if done {
                break;
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 201, 701, 1201]);
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_copy_that_is_made_or_there_ends_with_the_account() {
    for (scratch, [one, other]) in Bench::each().await {
        for is_there in [true, false] {
            let ann = one.signs_in("Ann").await;
            let id = ann.user().unwrap();
            one.leaving.exports.ask(&ann).await.unwrap();
            let mut claim = one.leaving.exports.claim("one").await.unwrap().unwrap();
            one.leaving.exports.add(&mut claim, vec![1; 10]).await.unwrap();
            if is_there {
                one.leaving.exports.finish(&claim).await.unwrap();
            }
            one.is_due(&ann, LeftMessages::Keep).await;
            assert!(other.purges().await.unwrap());
            // What was being made is made no further, and what was asked for late is refused.
            assert!(one.leaving.exports.add(&mut claim, vec![2; 10]).await.is_err());
            assert_eq!(code(one.leaving.exports.ask(&ann).await), Some(ErrorCode::UserNotFound));
            one.purges_all().await;
            assert!(export_part::Entity::find().all(one.db.read()).await.unwrap().is_empty());
            assert!(export::of_user(id).one(one.db.read()).await.unwrap().is_none());
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn what_nobody_is_in_any_more_says_nothing() {
    for (scratch, [one, _]) in Bench::each().await {
        let past = Box::pin(a_past(&one)).await;
        one.is_due(&past.ann, LeftMessages::Keep).await;
        one.purges_all().await;
        let bob = one.again(past.bob).await;
        one.is_due(&bob, LeftMessages::Keep).await;
        one.purges_all().await;
        for conversation in [past.pair, past.group, past.left] {
            let head = conversation::by_id(conversation).one(one.db.read()).await.unwrap().unwrap();
            assert_eq!((head.participant_count, head.name, head.description), (0, None, None));
            let all = message::after(conversation, 0).all(one.db.read()).await.unwrap();
            assert!(!all.is_empty() && all.iter().all(|row| row.text.is_none()));
        }
        scratch.drop().await;
    }
}

#[actix_web::test]
async fn a_busy_conversation_is_waited_for() {
    for (scratch, [one, _]) in Bench::each().await {
        let ann = one.signs_in("Ann").await;
        one.is_due(&ann, LeftMessages::Keep).await;
        let mut claim = one.leaving.claim_purge().await.unwrap().unwrap();
        for (refused, is_over) in [(ErrorCode::ConversationBusy, false), (ErrorCode::ConversationNotFound, true)] {
            let mut work = Box::pin(one.leaving.patiently(&mut claim, async || Err::<(), _>(refused.into())));
            assert_eq!(poll_fn(|context| Poll::Ready(work.as_mut().poll(context).is_ready())).await, is_over);
        }
        scratch.drop().await;
    }
}
