//! The table `refresh_tokens`: each token that a session was ever given, as its hash, and which one it came from.
//!
//! Never here: a token itself.

use crate::SessionId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;

/// One token. A spent one stays until it expires, so that a theft shows when it comes again.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "refresh_tokens")]
pub struct Model {
    /// The token's hash, 32 bytes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub token_hash: Vec<u8>,
    /// Whose it is.
    pub session_id: SessionId,
    /// The hash of the token that it was got for; none for a login's first.
    pub parent_hash: Option<Vec<u8>>,
    /// When it was given.
    pub created_at: UnixTimestamp,
    /// When it stops working.
    pub expires_at: UnixTimestamp,
    /// When it was exchanged; none if it has not been.
    pub spent_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The token of this hash.
pub fn by_hash(token_hash: &[u8]) -> Select<Entity> {
    Entity::find().filter(COLUMN.token_hash.eq(token_hash.to_vec()))
}

/// The tokens of a session.
pub fn of_session(session: SessionId) -> Select<Entity> {
    Entity::find().filter(COLUMN.session_id.eq(session))
}

/// The tokens that were got for the token of this hash.
pub fn children_of(token_hash: &[u8]) -> Select<Entity> {
    Entity::find().filter(COLUMN.parent_hash.eq(token_hash.to_vec()))
}
