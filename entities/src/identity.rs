//! The table `identities`: who an account is elsewhere: at an OpenID Connect issuer, or at Facebook.
//!
//! Never here: a token of theirs.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::QueryOrder;
use sea_orm::entity::prelude::*;
/// One identity.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "identities")]
pub struct Model {
    /// Who vouches for it: an issuer's URL.
    #[sea_orm(primary_key, auto_increment = false)]
    pub issuer: String,
    /// What the issuer calls the person; never given to another.
    #[sea_orm(primary_key, auto_increment = false)]
    pub subject: String,
    /// What our configuration calls the issuer.
    pub provider: String,
    /// Whose it is here.
    pub user_id: UserId,
    /// The e-mail address that the issuer gave, for the list.
    pub email: Option<String>,
    /// When it was linked.
    pub linked_at: UnixTimestamp,
    /// When somebody last signed in by it.
    pub last_used_at: UnixTimestamp,
}

impl ActiveModelBehavior for ActiveModel {}

/// The one that an issuer calls so.
pub fn by_subject(issuer: &str, subject: &str) -> Select<Entity> {
    Entity::find().filter(COLUMN.issuer.eq(issuer)).filter(COLUMN.subject.eq(subject))
}

/// Those of a user, the first linked first.
pub fn of_user(user: UserId) -> Select<Entity> {
    Entity::find().filter(COLUMN.user_id.eq(user)).order_by_asc(COLUMN.linked_at)
}
