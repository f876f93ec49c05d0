//! How people stand to each other, by the rows of contacts and blocks: the same, however many are asked for and by whom.

use super::support::*;
use actors::privacy::{Relation, Relations, people, standings};
use entities::{block, contact};
use sea_orm::{ActiveModelTrait, IntoActiveModel};

/// What an address book says of somebody, and whom it leaves there as a tombstone or only proposes.
async fn lists(rows: &Rows, owner_id: UserId, user_id: UserId, suggested: bool, removed: bool) {
    let row = contact::Model {
        owner_id,
        user_id,
        name: None,
        favourite: false,
        suggested,
        removed,
        by_number: false,
        user_rev: 1,
        created_at: Timestamp::EPOCH,
    };
    row.into_active_model().insert(rows.db.write()).await.unwrap();
}

async fn blocks(rows: &Rows, owner_id: UserId, user_id: UserId, removed: bool) {
    let row = block::Model {
        owner_id,
        user_id,
        removed,
        user_rev: 1,
        created_at: Timestamp::EPOCH,
        changed_at: Timestamp::EPOCH,
    };
    row.into_active_model().insert(rows.db.write()).await.unwrap();
}

on_both! {
    async fn the_owners_address_book_counts_and_a_block_of_either_goes_before_it(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let ann = rows.user("ann").await;
        let names = ["listed", "listing", "proposed", "removed", "unblocked", "blocked", "blocker", "both", "nobody"];
        let [listed, listing, proposed, removed, unblocked, blocked, blocker, both, nobody] = rows.users(names).await;
        // Ann looks at them: what they say of her counts.
        lists(&rows, listed, ann, false, false).await;
        lists(&rows, ann, listing, false, false).await;
        lists(&rows, proposed, ann, true, false).await;
        lists(&rows, removed, ann, false, true).await;
        lists(&rows, unblocked, ann, false, false).await;
        blocks(&rows, unblocked, ann, true).await;
        blocks(&rows, ann, unblocked, true).await;
        blocks(&rows, ann, blocked, false).await;
        blocks(&rows, blocker, ann, false).await;
        lists(&rows, both, ann, false, false).await;
        blocks(&rows, both, ann, false).await;
        blocks(&rows, ann, both, false).await;
        let expected = [
            (ann, Relation::Own),
            (listed, Relation::Contact),
            (listing, Relation::Stranger),
            (proposed, Relation::Stranger),
            (removed, Relation::Stranger),
            (unblocked, Relation::Contact),
            (blocked, Relation::Blocked),
            (blocker, Relation::Blocked),
            (both, Relation::Blocked),
            (nobody, Relation::Stranger),
        ];
        let all: Vec<UserId> = expected.iter().map(|(user, _)| *user).collect();
        let relations = Relations::of(rows.db.read(), ann, &all).await.unwrap();
        let pairs: Vec<(UserId, UserId)> = all.iter().map(|user| (ann, *user)).collect();
        let standings = standings(rows.db.read(), &pairs).await.unwrap();
        let people = people(rows.db.read(), ann, &all).await.unwrap();
        assert_eq!((standings.len(), people.len()), (all.len(), all.len()));
        for (user, relation) in expected {
            assert_eq!(relations.to(user), relation, "{user}");
            assert_eq!(standings[&(ann, user)].0, relation, "{user}");
            assert_eq!((people[&user].0.id, people[&user].1), (user, relation), "{user}");
        }
    }

    async fn who_does_not_exist_is_left_out(stage: &Stage) {
        let rows = Rows::on(stage).await;
        let ann = rows.user("ann").await;
        let nobody = UserId::from_uuid(uuid::Uuid::nil());
        assert!(standings(rows.db.read(), &[(ann, nobody)]).await.unwrap().is_empty());
        assert!(people(rows.db.read(), ann, &[nobody]).await.unwrap().is_empty());
        // Without anybody nothing is asked.
        assert!(standings(rows.db.read(), &[]).await.unwrap().is_empty());
        assert!(people(rows.db.read(), ann, &[]).await.unwrap().is_empty());
    }
}
