//! The table `otp_verifications`: the codes that were sent and what became of them, and that notices were sent.
//!
//! Never here: a code itself.

use crate::UserId;
use crate::time::UnixTimestamp;
use sea_orm::entity::prelude::*;

/// One code that was sent.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "otp_verifications")]
pub struct Model {
    /// What the client names it by, 16 random bytes.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Vec<u8>,
    /// The number, E.164 with its `+`; by e-mail the address, in its normal form.
    pub phone: String,
    /// The same as whoever asked spelt it, where that matters: as it is written to.
    pub spelt: Option<String>,
    /// What the code is for; `notice` if there is none, and the row only counts.
    pub purpose: String,
    /// The code's keyed hash; empty while only the carrier knows the code; of no code for a decoy.
    pub code_hash: Vec<u8>,
    /// How often somebody has tried.
    pub tries: i32,
    /// When it was sent.
    pub created_at: UnixTimestamp,
    /// When it stops working.
    pub expires_at: UnixTimestamp,
    /// How it went out: `sms`, `call`, `whatsapp`, `email`.
    pub channel: String,
    /// The network from which it was asked for.
    pub address: Option<String>,
    /// The number's country, ISO 3166.
    pub country: Option<String>,
    /// What the carrier calls it, if that makes and checks the code; for a decoy a name that the carrier never gave.
    pub carrier: Option<String>,
    /// For whose account it was asked for, where that was known.
    pub user_id: Option<UserId>,
    /// When it was used; none if it has not been.
    pub consumed_at: Option<UnixTimestamp>,
}

impl ActiveModelBehavior for ActiveModel {}

/// The verification of this identifier.
pub fn by_id(id: &[u8]) -> Select<Entity> {
    Entity::find().filter(COLUMN.id.eq(id.to_vec()))
}
