//! The table `otp_counts`: how many codes and notices by text went out in a day, to a country and in all, and how many
//! codes by e-mail, spread over a few rows so that those who count do not all wait for one.
//!
//! Never here: to whom they went.

use sea_orm::entity::prelude::*;

/// A part of one day's count.
#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "otp_counts")]
pub struct Model {
    /// A country, ISO 3166; `all` phones; or `mail`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub scope: String,
    /// The day, counted from 1970-01-01 UTC.
    #[sea_orm(primary_key, auto_increment = false)]
    pub day: i64,
    /// Which of the rows of that day.
    #[sea_orm(primary_key, auto_increment = false)]
    pub slot: i64,
    /// How many went out.
    pub sent: i64,
}

impl ActiveModelBehavior for ActiveModel {}

/// The counts of a scope's day.
pub fn of_day(scope: &str, day: i64) -> Select<Entity> {
    Entity::find().filter(COLUMN.scope.eq(scope)).filter(COLUMN.day.eq(day))
}
