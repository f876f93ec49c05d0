//! What the journal's transaction makes of changes: numbers, repeats, rights, marks, mentions.
//! Never a room: the items are made by hand, so that any two may meet in one transaction.

use super::support::rows::{add, answer, code, delete, edit, item, message_of, react, remove, send_as, unreact};
use super::support::*;

/// The changes told of a conversation: contiguous, and as the counters say.
fn told(committed: &Committed, id: ConversationId) -> Vec<i64> {
    let Some(written) = committed.written.get(&id) else { return Vec::new() };
    let revs: Vec<i64> = written.changes.iter().map(|change| change.item.rev()).collect();
    assert_eq!(revs, (written.before + 1..=written.rev).collect::<Vec<_>>(), "what is told has a gap");
    revs
}

on_both! {
    async fn numbers_have_no_gap_over_mixed_batches(stage: &Stage) {
        let rows = Rows::on(stage).await.bounded(|limits| limits.reactions = 2);
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let [one, two] = [rows.group(ann, &[bob]).await, rows.group(bob, &[ann]).await];
        let first = rows.says(one, ann, "first").await.id;
        let other = rows.says(two, bob, "other").await.id;
        let mut last = HashMap::from([(one, rows.head(one).await.last_rev), (two, rows.head(two).await.last_rev)]);
        for round in 0..6 {
            let committed = rows
                .commit(vec![
                    item(one, ann, send("a")),
                    item(two, eve, send("a stranger's")),
                    item(one, bob, edit(first, "not mine")),
                    item(two, bob, edit(other, &format!("edit {round}"))),
                    item(one, bob, send("b")),
                    item(one, bob, react(first, ["👍", "👎", "🎉"][round % 3])),
                    item(one, bob, if round % 2 == 0 { add(&[eve]) } else { remove(eve) }),
                    item(one, ann, if round % 2 == 0 { add(&[eve]) } else { remove(eve) }),
                    item(two, ann, mark(round as i64)),
                    item(one, ann, Change::Update { name: Some(format!("name {round}")), description: None }),
                    item(one, eve, send("now and then a member")),
                    item(one, ann, delete(MessageId::from_uuid(uuid::Uuid::nil()))),
                ])
                .await;
            let refused: Vec<usize> =
                (0..committed.outcomes.len()).filter(|at| committed.outcomes[*at].is_err()).collect();
            let third_emoji = round % 3 == 2;
            let expected = [1, 2].into_iter().chain(third_emoji.then_some(5)).chain([6]);
            let expected = expected.chain((round % 2 == 1).then_some(10)).chain([11]);
            assert_eq!(refused, expected.collect::<Vec<_>>(), "in round {round}");
            for id in [one, two] {
                let revs = told(&committed, id);
                assert_eq!(revs.first().copied(), Some(last[&id] + 1));
                last.insert(id, *revs.last().unwrap());
                assert_eq!(rows.head(id).await.last_rev, last[&id]);
                rows.are_sound(id).await;
            }
        }
    }

    async fn a_refused_item_takes_no_number(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let tea = rows.group(ann, &[bob]).await;
        let said = rows.says(tea, ann, "one").await.id;
        let before = rows.head(tea).await;
        let user_revs = [rows.user_rev(ann).await, rows.user_rev(bob).await, rows.user_rev(eve).await];
        let unknown = UserId::from_uuid(uuid::Uuid::nil());
        let committed = rows
            .commit(vec![
                item(tea, eve, send("let me in")),
                item(tea, bob, edit(said, "mine now")),
                item(tea, bob, delete(said)),
                item(tea, bob, add(&[eve])),
                item(tea, ann, add(&[eve, unknown])),
                item(tea, bob, remove(ann)),
                item(tea, ann, remove(eve)),
                item(tea, ann, Change::Leave),
                item(tea, bob, Change::SetRole { user: bob, role: Role::Owner }),
                item(tea, bob, Change::Transfer { to: bob }),
                item(tea, ann, Change::Transfer { to: eve }),
                item(tea, bob, Change::Update { name: Some("mine".to_owned()), description: None }),
                item(tea, eve, mark(1)),
                item(tea, ann, answer("to what?", MessageId::from_uuid(uuid::Uuid::nil()))),
            ])
            .await;
        let codes: Vec<ErrorCode> = committed.outcomes.iter().map(|outcome| code(outcome.clone())).collect();
        use ErrorCode::*;
        let expected = [
            ConversationNotFound,
            ConversationForbidden,
            ConversationForbidden,
            ConversationForbidden,
            UserNotFound,
            ConversationForbidden,
            ParticipantNotFound,
            ConversationLastOwner,
            ConversationForbidden,
            ConversationForbidden,
            ParticipantNotFound,
            ConversationForbidden,
            ConversationNotFound,
            MessageNotFound,
        ];
        assert_eq!(codes, expected);
        assert!(told(&committed, tea).is_empty());
        assert_eq!(rows.head(tea).await, before);
        assert_eq!([rows.user_rev(ann).await, rows.user_rev(bob).await, rows.user_rev(eve).await], user_revs);
        let next = rows.says(tea, ann, "two").await;
        assert_eq!((next.seq, next.rev), (before.last_seq + 1, before.last_rev + 1));
    }

    async fn what_changes_nothing_takes_no_number(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob] = rows.users(["ann", "bob"]).await;
        let tea = rows.group(ann, &[bob]).await;
        let said = rows.says(tea, ann, "one").await.id;
        rows.one(tea, bob, react(said, "👍")).await.unwrap();
        rows.one(tea, ann, mark(1)).await.unwrap();
        let gone = rows.says(tea, ann, "two").await.id;
        rows.one(tea, ann, delete(gone)).await.unwrap();
        let (before, user_rev) = (rows.head(tea).await, rows.user_rev(ann).await);
        let committed = rows
            .commit(vec![
                item(tea, ann, edit(said, "one")),
                item(tea, bob, react(said, "👍")),
                item(tea, ann, unreact(said, "👍")),
                item(tea, ann, add(&[bob, ann])),
                item(tea, ann, Change::SetRole { user: bob, role: Role::Member }),
                item(tea, ann, Change::Transfer { to: ann }),
                item(tea, ann, Change::Update { name: Some("tea".to_owned()), description: Some(String::new()) }),
                item(tea, ann, mark(1)),
                item(tea, ann, mark(0)),
                item(tea, ann, delete(gone)),
            ])
            .await;
        for (at, outcome) in committed.outcomes.iter().enumerate() {
            assert!(outcome.is_ok(), "{at}: {outcome:?}");
        }
        assert!(told(&committed, tea).is_empty());
        assert_eq!((rows.head(tea).await, rows.user_rev(ann).await), (before, user_rev));
    }

    async fn a_repeat_in_one_batch_gets_the_first_result(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob] = rows.users(["ann", "bob"]).await;
        let [tea, cake] = [rows.group(ann, &[bob]).await, rows.group(ann, &[bob]).await];
        let committed = rows
            .commit(vec![
                item(tea, ann, send_as("k", "hello")),
                item(tea, ann, send_as("k", "hello")),
                item(tea, ann, send_as("k", "another text")),
                // Somebody else's key, and another conversation's, are others.
                item(tea, bob, send_as("k", "hello")),
                item(cake, ann, send_as("k", "hello")),
                item(tea, ann, send_as("k", "hello")),
            ])
            .await;
        let outcomes = committed.outcomes.clone();
        let (first, repeated) = message_of(outcomes[0].clone());
        assert!(!repeated);
        for at in [1, 5] {
            let (again, repeated) = message_of(outcomes[at].clone());
            assert!(repeated);
            assert_eq!(json_of(&again), json_of(&first));
        }
        let refusal = outcomes[2].clone().unwrap_err();
        assert_eq!((refusal.code, refusal.field.as_deref()), (ErrorCode::MessageClientIdConflict, Some("clientId")));
        assert!(!message_of(outcomes[3].clone()).1);
        assert!(!message_of(outcomes[4].clone()).1);
        assert_eq!((told(&committed, tea).len(), told(&committed, cake).len()), (2, 1));
        assert_eq!((rows.messages(tea).await.len(), rows.messages(cake).await.len()), (2, 1));
        rows.are_sound(tea).await;
    }

    async fn a_repeat_in_a_later_batch_gets_the_message_as_it_is_now(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob] = rows.users(["ann", "bob"]).await;
        let tea = rows.group(ann, &[bob]).await;
        let first = message_of(rows.one(tea, bob, send_as("k", "hello")).await).0;
        let again = async || message_of(rows.one(tea, bob, send_as("k", "hello")).await);
        let conflict = async || code(rows.one(tea, bob, send_as("k", "other")).await);
        let (same, repeated) = again().await;
        assert!(repeated);
        assert_eq!(json_of(&same), json_of(&first));
        assert_eq!(conflict().await, ErrorCode::MessageClientIdConflict);

        rows.one(tea, bob, edit(first.id, "hello, all")).await.unwrap();
        rows.one(tea, ann, react(first.id, "👍")).await.unwrap();
        let (edited, repeated) = again().await;
        assert!(repeated);
        assert_eq!((edited.id, edited.text.as_deref(), edited.reactions.len()), (first.id, Some("hello, all"), 1));
        assert_eq!(conflict().await, ErrorCode::MessageClientIdConflict);
        // The text that it has now is another request.
        assert_eq!(
            code(rows.one(tea, bob, send_as("k", "hello, all")).await),
            ErrorCode::MessageClientIdConflict
        );

        rows.one(tea, ann, delete(first.id)).await.unwrap();
        let (deleted, repeated) = again().await;
        assert!(repeated && deleted.deleted_at.is_some() && deleted.text.is_none() && deleted.reactions.is_empty());
        assert_eq!(conflict().await, ErrorCode::MessageClientIdConflict);

        rows.one(tea, ann, remove(bob)).await.unwrap();
        let (known, repeated) = again().await;
        assert!(repeated);
        assert_eq!(known.id, first.id);
        assert_eq!(conflict().await, ErrorCode::MessageClientIdConflict);
        assert_eq!(code(rows.one(tea, bob, send_as("new", "hello")).await), ErrorCode::ConversationNotFound);
        assert_eq!(rows.messages(tea).await.len(), 1);
        rows.are_sound(tea).await;
    }

    async fn the_policy_is_read_again_where_the_room_is_behind(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let tea = rows.group(ann, &[bob]).await;
        let knowing = |user, policy_rev, role| {
            let mut item = item(tea, user, send("hello"));
            (item.policy_rev, item.role) = (policy_rev, role);
            item
        };
        let first = rows.head(tea).await.policy_rev;
        // What was checked against this very state is believed; so the room's word counts.
        let believed = rows.commit(vec![knowing(eve, first, Some(Role::Member))]).await;
        assert!(believed.outcomes[0].is_ok());
        assert!(rows.commit(vec![knowing(bob, first, Some(Role::Member))]).await.outcomes[0].is_ok());

        // 'Allowed' from before the removal.
        rows.one(tea, ann, remove(bob)).await.unwrap();
        let second = rows.head(tea).await.policy_rev;
        assert!(second > first);
        let stale = rows.commit(vec![knowing(bob, first, Some(Role::Member))]).await;
        assert_eq!(code(stale.outcomes[0].clone()), ErrorCode::ConversationNotFound);
        assert!(stale.written[&tea].roles.contains(&(bob, None)), "the room learns it");
        assert_eq!(stale.written[&tea].policy_rev, second);

        // 'Unknown' from before the addition, and from a room that knows nothing.
        rows.one(tea, ann, add(&[eve])).await.unwrap();
        let fresh = rows.commit(vec![knowing(eve, second, None), knowing(eve, -1, None)]).await;
        assert!(fresh.outcomes.iter().all(Result::is_ok));
        assert!(fresh.written[&tea].roles.contains(&(eve, Some(Role::Member))));
        rows.are_sound(tea).await;
    }

    async fn every_change_of_members_or_roles_raises_the_policys_number(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let tea = rows.group(ann, &[bob]).await;
        let raising = [
            (ann, add(&[eve])),
            (ann, Change::SetRole { user: bob, role: Role::Admin }),
            (bob, remove(eve)),
            (ann, Change::Transfer { to: bob }),
            (ann, Change::Leave),
        ];
        for (actor, change) in raising {
            let before = rows.head(tea).await;
            rows.one(tea, actor, change.clone()).await.unwrap();
            let after = rows.head(tea).await;
            assert_eq!(after.policy_rev, after.last_rev, "{change:?}");
            assert!(after.last_rev > before.last_rev, "{change:?}");
        }
        let before = rows.head(tea).await.policy_rev;
        let said = rows.says(tea, bob, "hello").await.id;
        rows.one(tea, bob, edit(said, "hello!")).await.unwrap();
        rows.one(tea, bob, react(said, "👍")).await.unwrap();
        rows.one(tea, bob, mark(1)).await.unwrap();
        rows.one(tea, bob, Change::Update { name: Some("coffee".to_owned()), description: None }).await.unwrap();
        assert_eq!(rows.head(tea).await.policy_rev, before);
    }

    async fn a_removal_and_a_send_in_one_batch_go_in_their_order(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob] = rows.users(["ann", "bob"]).await;
        for knows in [false, true] {
            let sending = |tea, policy_rev| {
                let mut item = item(tea, bob, send("hello"));
                if knows {
                    (item.policy_rev, item.role) = (policy_rev, Some(Role::Member));
                }
                item
            };
            let tea = rows.group(ann, &[bob]).await;
            let rev = rows.head(tea).await.policy_rev;
            let after = rows.commit(vec![item(tea, ann, remove(bob)), sending(tea, rev)]).await;
            assert!(after.outcomes[0].is_ok());
            assert_eq!(code(after.outcomes[1].clone()), ErrorCode::ConversationNotFound);
            assert_eq!(after.written[&tea].changes.len(), 1);

            let tea = rows.group(ann, &[bob]).await;
            let rev = rows.head(tea).await.policy_rev;
            let before = rows.commit(vec![sending(tea, rev), item(tea, ann, remove(bob)), sending(tea, rev)]).await;
            assert!(before.outcomes[0].is_ok() && before.outcomes[1].is_ok());
            assert_eq!(code(before.outcomes[2].clone()), ErrorCode::ConversationNotFound);
            let ended = rows.member(tea, bob).await.until_rev.unwrap();
            assert_eq!(ended, message_of(before.outcomes[0].clone()).0.rev + 1);
            rows.are_sound(tea).await;

            // Leaving is a removal, and an addition the reverse.
            let tea = rows.group(ann, &[bob]).await;
            let rev = rows.head(tea).await.policy_rev;
            let both = rows
                .commit(vec![
                    item(tea, bob, Change::Leave),
                    sending(tea, rev),
                    item(tea, ann, add(&[bob])),
                    sending(tea, rev),
                ])
                .await;
            assert_eq!(code(both.outcomes[1].clone()), ErrorCode::ConversationNotFound);
            let said = message_of(both.outcomes[3].clone()).0;
            let member = rows.member(tea, bob).await;
            assert_eq!((member.until_rev, member.visible_from_seq), (None, said.seq));
            rows.are_sound(tea).await;
        }
    }

    async fn a_hundred_added_users_take_a_hundred_numbers(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let ann = rows.user("ann").await;
        let tea = rows.group(ann, &[]).await;
        let mut users = Vec::new();
        for at in 0..100 {
            users.push(rows.user(&format!("user{at}")).await);
        }
        let before = rows.head(tea).await.last_rev;
        let committed = rows.commit(vec![item(tea, ann, add(&users))]).await;
        assert_eq!(told(&committed, tea), (before + 1..=before + 100).collect::<Vec<_>>());
        let members = rows.members(tea).await;
        let revs: BTreeSet<i64> =
            members.iter().filter(|row| row.user_id != ann).map(|row| row.rev).collect();
        assert_eq!(revs, (before + 1..=before + 100).collect());
        for row in members.iter().filter(|row| row.user_id != ann) {
            assert_eq!((row.from_rev, row.user_rev), (row.rev, 1));
            assert_eq!(rows.user_rev(row.user_id).await, 1);
        }
        let told_to: BTreeSet<UserId> = committed.written[&tea].users.iter().copied().collect();
        assert_eq!(told_to, users.iter().copied().collect());
        assert_eq!(rows.user_rev(ann).await, 1, "nothing of hers has changed");
        rows.are_sound(tea).await;

        // A full group takes nobody, and no part of a request.
        let rows = rows.bounded(|limits| limits.participants = 102);
        let [kim, lee] = rows.users(["kim", "lee"]).await;
        assert_eq!(code(rows.one(tea, ann, add(&[kim, lee])).await), ErrorCode::ConversationFull);
        assert_eq!(rows.head(tea).await.last_rev, before + 100);
        rows.one(tea, ann, add(&[kim, kim])).await.unwrap();
        rows.are_sound(tea).await;
    }

    async fn what_is_private_is_stamped_with_the_users_own_counter(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let [tea, cake] = [rows.group(ann, &[bob]).await, rows.group(ann, &[bob]).await];
        rows.says(tea, ann, "one").await;
        rows.says(cake, ann, "one").await;
        let before = [rows.user_rev(ann).await, rows.user_rev(bob).await, rows.user_rev(eve).await];
        let committed = rows
            .commit(vec![
                item(tea, bob, mark(1)),
                item(cake, bob, mark(1)),
                item(tea, ann, add(&[eve])),
                item(tea, ann, Change::SetRole { user: eve, role: Role::Admin }),
                item(cake, ann, remove(bob)),
            ])
            .await;
        assert!(committed.outcomes.iter().all(Result::is_ok));
        let after = [rows.user_rev(ann).await, rows.user_rev(bob).await, rows.user_rev(eve).await];
        assert_eq!(after, [before[0], before[1] + 3, before[2] + 2]);
        let stamps = [rows.member(tea, bob).await, rows.member(cake, bob).await, rows.member(tea, eve).await];
        assert_eq!(stamps.map(|row| row.user_rev), [before[1] + 1, before[1] + 3, before[2] + 2]);
        // Who is told: each of whom something changed, by the conversation in which it did.
        let told_to = |id| committed.written[&id].users.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!((told_to(tea), told_to(cake)), (BTreeSet::from([bob, eve]), BTreeSet::from([bob])));
        // Nobody else's row was touched.
        assert_eq!(rows.member(tea, ann).await.user_rev, before[0] - 1);
    }

    async fn marks_are_only_raised(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob] = rows.users(["ann", "bob"]).await;
        let tea = rows.group(ann, &[bob]).await;
        for text in ["one", "two", "three", "four"] {
            rows.says(tea, ann, text).await;
        }
        let marks = |read: Option<i64>, delivered: Option<i64>| Change::Mark { read, delivered, marked_unread: None };
        let held = async || {
            let row = rows.member(tea, bob).await;
            (row.read_seq, row.delivered_seq, row.marked_unread)
        };
        rows.one(tea, bob, marks(None, Some(2))).await.unwrap();
        assert_eq!(held().await, (0, 2, false));
        rows.one(tea, bob, marks(Some(1), None)).await.unwrap();
        assert_eq!(held().await, (1, 2, false));
        rows.one(tea, bob, marks(Some(3), None)).await.unwrap();
        assert_eq!(held().await, (3, 3, false), "what was read has arrived");
        rows.one(tea, bob, marks(Some(2), Some(1))).await.unwrap();
        assert_eq!(held().await, (3, 3, false));
        rows.one(tea, bob, marks(Some(99), None)).await.unwrap();
        assert_eq!(held().await, (4, 4, false), "nobody has read what was not yet said");
        let flag = |on| Change::Mark { read: None, delivered: None, marked_unread: Some(on) };
        rows.one(tea, bob, flag(true)).await.unwrap();
        assert_eq!(held().await, (4, 4, true));
        rows.one(tea, bob, marks(None, Some(4))).await.unwrap();
        assert_eq!(held().await, (4, 4, true), "what arrives is not read");
        rows.one(tea, bob, marks(Some(1), None)).await.unwrap();
        assert_eq!(held().await, (4, 4, false), "whoever reads takes the flag away");

        // Several in one transaction, and what the others are told of it.
        rows.says(tea, ann, "five").await;
        rows.says(tea, ann, "six").await;
        let user_rev = rows.user_rev(bob).await;
        let committed = rows.commit(vec![item(tea, bob, mark(6)), item(tea, bob, mark(5))]).await;
        assert_eq!(held().await.0, 6);
        assert_eq!(rows.user_rev(bob).await, user_rev + 1);
        let receipts: Vec<(bool, i64)> =
            committed.written[&tea].receipts.iter().map(|receipt| (receipt.read, receipt.seq)).collect();
        assert_eq!(receipts, [(true, 6)]);
        assert!(told(&committed, tea).is_empty(), "a mark is no change of the conversation");
    }

    async fn a_group_keeps_an_owner(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let role = |user, role| Change::SetRole { user, role };
        let tea = rows.group(ann, &[bob, eve]).await;
        assert_eq!(code(rows.one(tea, ann, Change::Leave).await), ErrorCode::ConversationLastOwner);
        assert_eq!(code(rows.one(tea, ann, remove(ann)).await), ErrorCode::ConversationLastOwner);
        assert_eq!(code(rows.one(tea, ann, role(ann, Role::Admin)).await), ErrorCode::ConversationLastOwner);
        // Two owners who go in one transaction: the second stays.
        rows.one(tea, ann, role(bob, Role::Owner)).await.unwrap();
        let both = rows.commit(vec![item(tea, ann, Change::Leave), item(tea, bob, Change::Leave)]).await;
        assert!(both.outcomes[0].is_ok());
        assert_eq!(code(both.outcomes[1].clone()), ErrorCode::ConversationLastOwner);
        rows.are_sound(tea).await;
        // Two who take each other's ownership: the second is no owner any more.
        rows.one(tea, bob, role(eve, Role::Owner)).await.unwrap();
        let crossed = rows
            .commit(vec![item(tea, bob, role(eve, Role::Member)), item(tea, eve, role(bob, Role::Member))])
            .await;
        assert!(crossed.outcomes[0].is_ok());
        assert_eq!(code(crossed.outcomes[1].clone()), ErrorCode::ConversationForbidden);
        rows.are_sound(tea).await;
        // An owner is made, and the other may go, in one transaction.
        let handed = rows.commit(vec![item(tea, bob, Change::Transfer { to: eve }), item(tea, bob, Change::Leave)]).await;
        assert!(handed.outcomes.iter().all(Result::is_ok));
        assert_eq!(rows.member(tea, eve).await.role, Role::Owner);
        rows.are_sound(tea).await;
        // The last of all may go.
        rows.one(tea, eve, Change::Leave).await.unwrap();
        assert_eq!(rows.head(tea).await.participant_count, 0);
        rows.are_sound(tea).await;
    }

    async fn a_new_member_does_nothing_to_what_was_before(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let tea = rows.group(ann, &[bob]).await;
        let old = rows.says(tea, ann, "before").await.id;
        let own = rows.says(tea, bob, "bob's").await.id;
        rows.one(tea, ann, add(&[eve])).await.unwrap();
        rows.one(tea, ann, Change::SetRole { user: eve, role: Role::Admin }).await.unwrap();
        let unseen = async |user, message| {
            let tries = [
                edit(message, "x"),
                delete(message),
                react(message, "👍"),
                unreact(message, "👍"),
                answer("to that", message),
            ];
            for change in tries {
                let about = format!("{change:?}");
                let is_member = rows.member(tea, user).await.until_rev.is_none();
                let expected = match change {
                    Change::Send(_) if !is_member => ErrorCode::ConversationNotFound,
                    _ => ErrorCode::MessageNotFound,
                };
                assert_eq!(code(rows.one(tea, user, change).await), expected, "{about}");
            }
        };
        unseen(eve, old).await;
        let new = rows.says(tea, ann, "after").await.id;
        rows.one(tea, eve, react(new, "👍")).await.unwrap();
        rows.one(tea, eve, answer("yes", new)).await.unwrap();
        rows.one(tea, eve, delete(new)).await.unwrap();
        // Whoever comes back does not see what they said themselves.
        rows.one(tea, ann, remove(bob)).await.unwrap();
        unseen(bob, own).await;
        rows.one(tea, ann, add(&[bob])).await.unwrap();
        unseen(bob, own).await;
        let member = rows.member(tea, bob).await;
        assert_eq!((member.read_seq, member.visible_from_seq), (4, 5));
        // A message of another conversation is not one of this.
        let cake = rows.group(ann, &[]).await;
        let elsewhere = rows.says(cake, ann, "cake").await.id;
        unseen(ann, elsewhere).await;
        rows.are_sound(tea).await;
    }

    async fn mentions_are_kept_as_the_text_has_them(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve, _stranger] = rows.users(["ann", "Bob", "eve", "stranger"]).await;
        let tea = rows.group(ann, &[bob, eve]).await;
        let said = rows.says(tea, ann, "@bob and @BOB, not @ann, nor @stranger").await;
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(1, bob)]));
        rows.one(tea, ann, edit(said.id, "@eve rather, and @bob.")).await.unwrap();
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(1, bob), (1, eve)]));
        rows.one(tea, ann, edit(said.id, "@eve alone")).await.unwrap();
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(1, eve)]));
        let committed = rows
            .commit(vec![
                item(tea, bob, send("@ann @eve")),
                item(tea, bob, send("@ann")),
                item(tea, ann, edit(said.id, "nobody")),
            ])
            .await;
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(2, ann), (2, eve), (3, ann)]));
        let second = message_of(committed.outcomes[0].clone()).0.id;
        // Edited and deleted in one transaction.
        rows.commit(vec![item(tea, bob, edit(second, "@eve")), item(tea, bob, delete(second))]).await;
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(3, ann)]));
        // Somebody who is gone is not mentioned.
        rows.one(tea, ann, remove(eve)).await.unwrap();
        rows.says(tea, ann, "@eve?").await;
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(3, ann)]));
        // Sent, edited and deleted in one transaction leaves nothing.
        let Change::Send(new) = send("@bob") else { unreachable!() };
        let id = new.id;
        let at_once =
            vec![item(tea, ann, Change::Send(new)), item(tea, ann, edit(id, "@bob!")), item(tea, ann, delete(id))];
        assert!(rows.commit(at_once).await.outcomes.iter().all(Result::is_ok));
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(3, ann)]));
        rows.are_sound(tea).await;
    }

    async fn who_is_added_in_the_same_batch_is_mentioned(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let tea = rows.group(ann, &[eve]).await;
        rows.commit(vec![item(tea, ann, add(&[bob])), item(tea, ann, send("welcome, @bob"))]).await;
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(1, bob)]));
        rows.commit(vec![item(tea, ann, remove(eve)), item(tea, ann, send("farewell, @eve"))]).await;
        assert_eq!(rows.mentions(tea).await, BTreeSet::from([(1, bob)]));
    }

    async fn a_message_carries_so_many_emoji_and_no_more(stage: &Stage) {
        let rows = Rows::on(stage).await.bounded(|limits| limits.reactions = 2);
        let [ann, bob] = rows.users(["ann", "bob"]).await;
        let tea = rows.group(ann, &[bob]).await;
        let said = rows.says(tea, ann, "one").await.id;
        let committed = rows
            .commit(vec![
                item(tea, ann, react(said, "👍")),
                item(tea, bob, react(said, "👎")),
                item(tea, bob, react(said, "🎉")),
                item(tea, bob, react(said, "👍")),
                item(tea, ann, unreact(said, "👎")),
                item(tea, bob, unreact(said, "👎")),
                item(tea, bob, react(said, "🎉")),
            ])
            .await;
        let refused: Vec<usize> = (0..7).filter(|at| committed.outcomes[*at].is_err()).collect();
        assert_eq!(refused, [2]);
        assert_eq!(code(committed.outcomes[2].clone()), ErrorCode::MessageTooManyReactions);
        let given = [(ann, "👍"), (bob, "👍"), (bob, "🎉")].map(|(user, emoji)| (user, emoji.to_owned()));
        assert_eq!(rows.reactions(said).await, BTreeSet::from(given));
        assert_eq!(told(&committed, tea).len(), 5);
        assert_eq!(code(rows.one(tea, ann, react(said, "👎")).await), ErrorCode::MessageTooManyReactions);
        // Given and taken back, taken back and given, in one transaction.
        rows.commit(vec![item(tea, ann, react(said, "🎉")), item(tea, ann, unreact(said, "🎉"))]).await;
        rows.commit(vec![item(tea, ann, unreact(said, "👍")), item(tea, ann, react(said, "👍"))]).await;
        assert_eq!(rows.reactions(said).await.len(), 3);
        // Deleted with one that was given in the same transaction.
        let last = rows
            .commit(vec![
                item(tea, ann, react(said, "🎉")),
                item(tea, ann, delete(said)),
                item(tea, bob, react(said, "👍")),
            ])
            .await;
        assert_eq!(code(last.outcomes[2].clone()), ErrorCode::MessageDeleted);
        assert_eq!(rows.reactions(said).await, BTreeSet::new());
        rows.are_sound(tea).await;
    }

    /// "A numbered event's `data` is exactly the item that `messages.changes` gives for that `rev`."
    async fn what_is_told_is_what_the_rows_say(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, eve] = rows.users(["ann", "bob", "eve"]).await;
        let tea = rows.group(ann, &[bob, eve]).await;
        let said = rows.says(tea, ann, "one").await.id;
        let check = async |items: Vec<Item>| {
            let committed = rows.commit(items).await;
            let state = rows.state(tea).await;
            for change in &committed.written[&tea].changes {
                // A row that was changed again in the same transaction is told by the later one.
                if let Some(row) = state.get(&change.item.rev()) {
                    assert_eq!(&json_of(&change.item), row);
                }
            }
            let last = committed.written[&tea].changes.last().unwrap().item.rev();
            assert!(state.contains_key(&last));
        };
        check(vec![item(tea, ann, send("two")), item(tea, ann, answer("three", said))]).await;
        check(vec![item(tea, ann, edit(said, "one!"))]).await;
        // In the order in which they were given, at one moment: users and emoji that sort otherwise.
        check(vec![item(tea, eve, react(said, "👍")), item(tea, bob, react(said, "🎉"))]).await;
        check(vec![item(tea, ann, react(said, "👎"))]).await;
        // By the clock of a node that is a little behind.
        rows.clock.set_back(Duration::from_millis(5));
        check(vec![item(tea, bob, react(said, "👎"))]).await;
        // Taken back and given again: it is the last one now.
        check(vec![item(tea, eve, unreact(said, "👍")), item(tea, eve, react(said, "👍"))]).await;
        check(vec![item(tea, eve, unreact(said, "👍"))]).await;
        check(vec![item(tea, ann, Change::Update { name: None, description: Some("about".to_owned()) })]).await;
        check(vec![item(tea, ann, Change::SetRole { user: bob, role: Role::Admin })]).await;
        check(vec![item(tea, bob, remove(eve))]).await;
        check(vec![item(tea, bob, add(&[eve]))]).await;
        check(vec![item(tea, ann, delete(said))]).await;
    }

    async fn what_is_said_later_is_dated_later(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let ann = rows.user("ann").await;
        let tea = rows.group(ann, &[]).await;
        let first = rows.says(tea, ann, "one").await;
        rows.clock.set_back(Duration::from_secs(60));
        let second = rows.says(tea, ann, "two").await;
        assert!(second.created_at >= first.created_at);
        assert_eq!(rows.head(tea).await.last_message_at, second.created_at);
    }

    async fn what_does_not_exist_is_refused_and_holds_nobody_up(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let ann = rows.user("ann").await;
        let tea = rows.group(ann, &[]).await;
        let nowhere = ConversationId::from_uuid(uuid::Uuid::nil());
        let committed = rows
            .commit(vec![item(nowhere, ann, send("?")), item(tea, ann, send("!")), item(nowhere, ann, mark(1))])
            .await;
        assert_eq!(code(committed.outcomes[0].clone()), ErrorCode::ConversationNotFound);
        assert!(committed.outcomes[1].is_ok());
        assert_eq!(code(committed.outcomes[2].clone()), ErrorCode::ConversationNotFound);
    }
}
