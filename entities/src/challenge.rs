//! The table `challenges`: what somebody was asked and has still to answer, as a second factor or the code of an OAuth
//! sign-in; and what was taken once and is not taken again.
//!
//! Never here: the token by which it is named: only its hash.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;
/// One thing that is open.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "challenges")]
pub struct Model {
    /// The hash of the token that names it.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id_hash: Vec<u8>,
    /// What it is for; it serves nothing else.
    pub purpose: String,
    /// Whom it concerns; none where nobody is known, and everything looks the same.
    pub user_id: Option<UserId>,
    /// What its purpose needs, a JSON object.
    pub detail: String,
    /// How often somebody has tried.
    pub tries: i32,
    /// When it was made.
    pub created_at: UnixTimestamp,
    /// When it is over.
    pub expires_at: UnixTimestamp,
    /// When it was used; none while it can be.
    pub used_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The one of this hash and purpose, also if it is over.
pub fn by_hash(hash: &[u8], purpose: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.id_hash.eq(hash.to_vec())).filter(COLUMN.purpose.eq(purpose))
}
