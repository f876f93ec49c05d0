//! What people say of themselves.
//! Never who may see it.

use super::Command;
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use entities::UserId;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// A user by id, or `me`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetProfile {
    /// An id, or `me`.
    pub user_id: UserRef,
}
command!(GetProfile = "users.getProfile" -> view::User);

/// A user: by id, or `me`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserRef {
    /// The caller.
    Me,
    /// Anybody.
    Id(UserId),
}

impl UserRef {
    /// Whom it names, as `caller` says it.
    pub fn resolve(self, caller: UserId) -> UserId {
        match self {
            UserRef::Me => caller,
            UserRef::Id(id) => id,
        }
    }
}

impl std::str::FromStr for UserRef {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<UserRef, Self::Err> {
        match text {
            "me" => Ok(UserRef::Me),
            id => id.parse().map(UserRef::Id).map_err(|_| "must be a UUID or 'me'"),
        }
    }
}

impl<'de> Deserialize<'de> for UserRef {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<UserRef, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl utoipa::PartialSchema for UserRef {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        <String as utoipa::PartialSchema>::schema()
    }
}
impl ToSchema for UserRef {}

/// Changes the caller's profile; operators may change anybody's. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateProfile {
    /// An id, or `me`.
    #[serde(default = "UpdateProfile::mine")]
    pub user_id: UserRef,
    /// 1 to 100 bytes.
    pub display_name: Option<String>,
    /// 3 to 32 of letters, digits, '_' and '.'; unique without regard to case.
    pub username: Option<String>,
    /// At most 500 bytes.
    pub bio: Option<String>,
    /// The picture, an id of media; `null` takes it away.
    #[serde(default, deserialize_with = "super::given")]
    #[schema(value_type = Option<Uuid>)]
    pub avatar_id: Option<Option<Uuid>>,
}
command!(UpdateProfile = "users.updateProfile" -> view::User; |c| {
    if let Some(name) = &c.display_name {
        check::text("displayName", name, 1, 100)?;
    }
    if let Some(name) = &c.username {
        check::username(name)?;
    }
    c.bio.as_ref().map_or(Ok(()), |bio| check::text("bio", bio, 0, 500))
});

impl UpdateProfile {
    fn mine() -> UserRef {
        UserRef::Me
    }
}

/// Users whose username or display name begins with `q`; or, if `q` is a phone number with its `+`, whoever has it and
/// lets themselves be found by it.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct SearchUsers {
    /// 3 characters or more. A phone number counts as one that was asked for, like those of `users.syncContacts`.
    pub q: String,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
    /// From the page before.
    pub cursor: Option<String>,
}
command!(SearchUsers = "users.search" -> view::Page<view::User>; |c| {
    check::text("q", &c.q, 1, 100)?;
    if c.q.trim().chars().count() < 3 {
        return Err(Refusal::invalid("q", "must have 3 characters or more").into());
    }
    check::limit(c.limit).map(drop)
});

/// What is private to the caller and changed after a `userRev`.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct UserChanges {
    /// The last `userRev` that the client holds.
    pub after_user_rev: i64,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(UserChanges = "users.changes" -> view::UserChanges; |c| {
    check::number("afterUserRev", Some(c.after_user_rev))?;
    check::limit(c.limit).map(drop)
});
