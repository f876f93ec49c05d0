//! Users, as their privacy lets somebody see them.
//! Never what is private to them: see `settings`.

use crate::privacy::{Relation, Subject, allows};
use entities::{Timestamp, UserId};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A user.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Their id.
    pub id: UserId,
    /// As shown; empty until they chose one.
    pub display_name: String,
    /// Unique without regard to case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// About them; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub bio: String,
    /// The picture, an id of media; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_id: Option<Uuid>,
    /// What they are at, until it is over; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<CustomStatus>,
    /// E.164; as their privacy lets the viewer see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// The e-mail address; shown to its owner alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Present where the account was deleted: nothing is left of it but its id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// When the owner's account is going to be deleted; shown to them alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves_at: Option<Timestamp>,
    /// When the account was made.
    pub created_at: Timestamp,
}

impl User {
    /// A user as they see themselves, with a status that may be over.
    pub fn own(row: entities::user::Model) -> User {
        User::from_row(row, Relation::Own, Timestamp::EPOCH)
    }

    /// A user as somebody sees them who stands so to them.
    pub fn from_row(row: entities::user::Model, relation: Relation, now: Timestamp) -> User {
        let sees = |subject| allows(&row.privacy, subject, relation);
        let (photo, bio, phone_number) = (sees(Subject::Photo), sees(Subject::Bio), sees(Subject::PhoneNumber));
        let own = relation == Relation::Own;
        let until = row.status_until;
        let status = CustomStatus { text: row.status_text.unwrap_or_default(), emoji: row.status_emoji, until };
        let over = until.is_some_and(|until| until <= now) || (status.text.is_empty() && status.emoji.is_none());
        User {
            id: row.id,
            display_name: row.display_name,
            username: row.username,
            bio: if bio { row.bio } else { String::new() },
            avatar_id: row.avatar_id.filter(|_| photo),
            status: (bio && !over).then_some(status),
            phone_number: row.phone.filter(|_| phone_number),
            email: row.email.filter(|_| own),
            deleted: row.left_at.is_some(),
            leaves_at: row.leaves_at.filter(|_| own),
            created_at: row.created_at,
        }
    }
}

/// What somebody is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CustomStatus {
    /// In words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// As an emoji.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    /// When it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
