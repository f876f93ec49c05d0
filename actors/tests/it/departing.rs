//! What becomes of conversations when an account ends: who owns them, what remains, and who may still speak there.
//! Never what becomes of the account itself.

use super::support::rows::{add, code, item, react, remove};
use super::support::*;
use actors::protocol::command::CreateConversation;
use entities::{ConversationKind, user};
use sea_orm::{ActiveModelTrait, Set};

/// An account ends, as far as its row tells.
async fn ends(rows: &Rows, user: UserId) {
    let ended =
        user::ActiveModel { id: Set(user), left_at: Set(Some(Timestamp::from_millis(1))), ..Default::default() };
    ended.update(rows.db.write()).await.unwrap();
}

async fn owners(rows: &Rows, id: ConversationId) -> Vec<UserId> {
    let members = rows.members(id).await.into_iter();
    members.filter(|row| row.until_rev.is_none() && row.role == Role::Owner).map(|row| row.user_id).collect()
}

fn role(user: UserId, role: Role) -> Change {
    Change::SetRole { user, role }
}

fn private(with: UserId) -> CreateConversation {
    let (kind, participant_ids) = (ConversationKind::Private, vec![with]);
    CreateConversation { kind, participant_ids, name: None, description: None, client_id: None }
}

on_both! {
    async fn the_oldest_admin_inherits_or_else_the_oldest_member(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, cid, dan] = rows.users(["ann", "bob", "cid", "dan"]).await;
        let tea = rows.group(ann, &[bob]).await;
        for later in [dan, cid] {
            rows.clock.advance(Duration::from_secs(1));
            rows.one(tea, ann, add(&[later])).await.unwrap();
        }
        rows.one(tea, ann, role(cid, Role::Admin)).await.unwrap();
        // An admin before a member who has been there for longer; then who has been there for the longest time.
        for (leaver, heir) in [(ann, Some(cid)), (cid, Some(bob)), (bob, Some(dan)), (dan, None)] {
            let before = rows.user_rev(leaver).await;
            rows.one(tea, leaver, Change::Depart).await.unwrap();
            assert_eq!(owners(&rows, tea).await, heir.into_iter().collect::<Vec<_>>());
            assert_eq!(rows.user_rev(leaver).await, before + 1);
            rows.are_sound(tea).await;
            // Once more changes nothing.
            let head = rows.head(tea).await;
            rows.one(tea, leaver, Change::Depart).await.unwrap();
            assert_eq!(rows.head(tea).await, head);
        }
        assert_eq!(rows.head(tea).await.participant_count, 0);
    }

    async fn an_heir_who_goes_in_the_same_transaction_is_none(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, cid, dan, eve] = rows.users(["ann", "bob", "cid", "dan", "eve"]).await;
        let tea = rows.group(ann, &[bob, cid, dan, eve]).await;
        let before = rows.user_rev(eve).await;
        let committed = rows
            .commit(vec![
                item(tea, ann, remove(bob)),
                item(tea, ann, role(dan, Role::Admin)),
                item(tea, ann, Change::Depart),
                item(tea, dan, Change::Depart),
                item(tea, cid, Change::Depart),
            ])
            .await;
        assert!(committed.outcomes.iter().all(Result::is_ok));
        assert_eq!(owners(&rows, tea).await, [eve]);
        assert_eq!(rows.user_rev(eve).await, before + 1);
        rows.are_sound(tea).await;
        let revs: Vec<i64> = committed.written[&tea].changes.iter().map(|change| change.item.rev()).collect();
        let written = &committed.written[&tea];
        assert_eq!(revs, (written.before + 1..=written.rev).collect::<Vec<_>>());
    }

    async fn a_group_with_another_owner_needs_no_heir(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob, cid] = rows.users(["ann", "bob", "cid"]).await;
        let tea = rows.group(ann, &[bob, cid]).await;
        rows.one(tea, ann, role(cid, Role::Owner)).await.unwrap();
        rows.one(tea, ann, Change::Depart).await.unwrap();
        assert_eq!(owners(&rows, tea).await, [cid]);
        rows.one(tea, bob, Change::Depart).await.unwrap();
        rows.are_sound(tea).await;
    }

    async fn what_is_taken_back_leaves_tombstones_and_no_reactions(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let [ann, bob] = rows.users(["ann", "bob"]).await;
        let [tea, other] = [rows.group(ann, &[bob]).await, rows.group(ann, &[bob]).await];
        let anns = rows.says(tea, ann, "hello @bob").await.id;
        let bobs = rows.says(tea, bob, "hello @ann").await.id;
        let elsewhere = rows.says(other, ann, "elsewhere").await.id;
        for (who, message, emoji) in [(bob, anns, "👍"), (ann, bobs, "👍"), (ann, bobs, "🎉"), (bob, bobs, "👍")] {
            rows.one(tea, who, react(message, emoji)).await.unwrap();
        }
        rows.one(tea, ann, Change::Depart).await.unwrap();
        // Not theirs, not here, not there at all: nothing comes of it.
        let nothing = MessageId::from_uuid(uuid::Uuid::nil());
        let withdraw = || Change::Withdraw { said: vec![anns, bobs, elsewhere, nothing], reacted: vec![bobs, anns] };
        let committed = rows.commit(vec![item(tea, ann, withdraw())]).await;
        let told: Vec<_> = committed.written[&tea].changes.iter().map(|change| change.event).collect();
        assert_eq!(told, ["message.deleted", "reaction.removed"]);
        let messages = rows.messages(tea).await;
        assert!(messages[0].text.is_none() && messages[0].deleted_at.is_some());
        assert_eq!(messages[1].text.as_deref(), Some("hello @ann"));
        assert_eq!(rows.reactions(bobs).await.into_iter().collect::<Vec<_>>(), [(bob, "👍".to_owned())]);
        assert!(rows.reactions(anns).await.is_empty() && rows.mentions(tea).await.iter().all(|(seq, _)| *seq == 2));
        assert_eq!(rows.messages(other).await[0].text.as_deref(), Some("elsewhere"));
        rows.are_sound(tea).await;
        let head = rows.head(tea).await;
        rows.one(tea, ann, withdraw()).await.unwrap();
        assert_eq!(rows.head(tea).await, head);
    }

    async fn nobody_adds_or_writes_to_whom_there_is_no_more(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob, cid] = node.users(["ann", "bob", "cid"]).await;
        let pair = node.conversations.create(ann, private(bob)).await.unwrap().conversation.id;
        let tea = node.group(ann, &[cid]).await;
        node.says(pair, ann, "hello").await;
        node.says(pair, bob, "hi").await;
        ends(&node, bob).await;
        node.conversations.depart(bob, pair).await.unwrap();
        assert_eq!(node.conversations.withdraw(bob, pair, 0, false).await.unwrap(), None);

        // The conversation stays, with whom it was.
        let command = GetConversation { conversation_id: pair };
        let seen = node.conversations.get(ann, command).await.unwrap();
        let members = seen.participants.unwrap();
        assert_eq!(members.iter().find(|member| member.user_id == bob).map(|member| member.removed), Some(true));
        assert_eq!((seen.participant_count, seen.last_seq), (1, 2));
        let refused = node.says_as(pair, ann, "key", "still there?").await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::UserNotFound);
        assert_eq!(node.conversations.create(ann, private(bob)).await.unwrap_err().code(), ErrorCode::UserNotFound);
        assert_eq!(node.conversations.create(cid, private(bob)).await.unwrap_err().code(), ErrorCode::UserNotFound);
        assert_eq!(code(node.one(tea, ann, add(&[bob])).await), ErrorCode::UserNotFound);
    }

    async fn what_nobody_is_in_any_more_is_emptied(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(ann, &[bob]).await;
        node.says(tea, bob, "bob's words").await;
        node.says(tea, ann, "ann's words").await;
        node.conversations.depart(bob, tea).await.unwrap();
        node.conversations.withdraw(bob, tea, 0, false).await.unwrap();
        assert!(node.messages(tea).await.iter().all(|row| row.text.is_some()), "ann may still read it");
        node.conversations.depart(ann, tea).await.unwrap();
        for _ in 0..2 {
            assert_eq!(node.conversations.withdraw(ann, tea, 0, false).await.unwrap(), None);
            assert!(node.messages(tea).await.iter().all(|row| row.text.is_none()));
            let head = node.head(tea).await;
            assert_eq!((head.name, head.description), (None, None));
            node.are_sound(tea).await;
        }
    }

    async fn a_long_conversation_is_looked_through_in_pieces(stage: &Stage) {
        let node = Node::alone(stage).await;
        let [ann, bob] = node.users(["ann", "bob"]).await;
        let tea = node.group(bob, &[ann]).await;
        for at in 0..6 {
            let items = (0..100).map(|_| item(tea, if at % 2 == 0 { ann } else { bob }, send("x"))).collect();
            node.commit(items).await;
        }
        node.conversations.depart(ann, tea).await.unwrap();
        let (mut after, mut pieces) = (Some(0), 0);
        while let Some(seq) = after {
            after = node.conversations.withdraw(ann, tea, seq, true).await.unwrap();
            pieces += 1;
        }
        assert_eq!(pieces, 3);
        let messages = node.messages(tea).await;
        assert!(messages.iter().all(|row| row.text.is_none() == (row.sender_id == ann)));
        node.are_sound(tea).await;
    }
}
