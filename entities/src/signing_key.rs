//! The table `signing_keys`: the pairs that sign access tokens.
//!
//! Never here: a private key in the clear.

use crate::Timestamp;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;
use sea_orm::{ExprTrait, QueryOrder};

/// One pair.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "signing_keys")]
pub struct Model {
    /// The name by which a token's header refers to it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub kid: String,
    /// The public half.
    pub public_key: Vec<u8>,
    /// The private half, sealed under the configured key.
    pub sealed_private_key: Vec<u8>,
    /// When it was made.
    pub created_at: UnixTimestamp,
    /// From when on nothing that it signed is accepted; none for the pair in use.
    pub retires_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The pair of this name.
pub fn by_kid(kid: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.kid.eq(kid))
}

/// The pairs whose signatures count at `now`, the newest first.
pub fn accepted_at(now: Timestamp) -> Select<Entity> {
    Entity::find()
        .filter(COLUMN.retires_at.is_null().or(COLUMN.retires_at.gt(now)))
        .order_by_desc(COLUMN.created_at)
        .order_by_desc(COLUMN.kid)
}
