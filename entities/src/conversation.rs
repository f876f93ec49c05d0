//! The table `conversations`: one row a private chat or group, with the heads that number what happens in it.
//!
//! Never here: who is in it (see `participant`).

use crate::time::UnixTimestamp;
use crate::{ConversationId, UserId};
use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a conversation is. It never changes.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    EnumIter,
    DeriveActiveEnum,
)]
#[serde(rename_all = "snake_case")]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum ConversationKind {
    /// Two people; at most one for each pair.
    #[sea_orm(string_value = "private")]
    Private,
    /// Any number, with roles.
    #[sea_orm(string_value = "group")]
    Group,
}

/// One conversation.
///
/// # Why its heads have no index
/// `last_seq`, `last_rev` and `policy_rev` change with every batch. While no index holds them, PostgreSQL rewrites the
/// row within its page and touches no index at all.
///
/// # Why no foreign keys
/// The journal checks what it writes under this row's lock; a key would check the same again for every row.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "conversations")]
pub struct Model {
    /// The conversation.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: ConversationId,
    /// Private or group.
    pub kind: ConversationKind,
    /// A group's name.
    pub name: Option<String>,
    /// A group's description.
    pub description: Option<String>,
    /// What keeps a pair to one private conversation: see `pair_key`. None for a group.
    pub pair_key: Option<String>,
    /// Who made it.
    pub created_by: UserId,
    /// What its creator's client named the request by, so that a repeat finds this row.
    pub client_id: Option<String>,
    /// The keyed hash of that request, to tell a repeat from a conflict.
    pub request_hash: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: UnixTimestamp,
    /// When its settings last changed.
    pub updated_at: UnixTimestamp,
    /// When its last message was sent; when it was made, if there is none.
    pub last_message_at: UnixTimestamp,
    /// The `seq` of its last message; 0 if there is none.
    pub last_seq: i64,
    /// The `rev` of the last change of anything in it.
    pub last_rev: i64,
    /// Raised by every change of what decides who may do what.
    pub policy_rev: i64,
    /// How many are in it now.
    pub participant_count: i32,
    /// The `rev` at which its own settings last changed.
    pub rev: i64,
    /// Whether one of a pair blocks the other: nothing is said in it until that is lifted.
    pub blocked: bool,
}

impl ActiveModelBehavior for ActiveModel {}

/// The conversation of this identifier.
pub fn by_id(conversation: ConversationId) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.eq(conversation))
}

/// The conversations of these identifiers, in no order.
pub fn among(conversations: impl IntoIterator<Item = ConversationId>) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.is_in(conversations))
}

/// The private conversation of two users.
pub fn between(one: UserId, other: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.pair_key.eq(pair_key(one, other)))
}

/// What a user's client made under this name.
pub fn by_client_id(created_by: UserId, client_id: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.created_by.eq(created_by)).filter(COLUMN.client_id.eq(client_id))
}

/// The `pair_key` of two users, the same whichever comes first.
pub fn pair_key(one: UserId, other: UserId) -> String {
    let (low, high) = if one <= other { (one, other) } else { (other, one) };
    format!("{low}:{high}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_one_key() {
        let [ann, bob] = [1, 2].map(|n| UserId::from_uuid(Uuid::from_u128(n)));
        assert_eq!(pair_key(ann, bob), pair_key(bob, ann));
        assert_ne!(pair_key(ann, bob), pair_key(ann, ann));
    }
}
