//! The identifiers: a newtype over a UUID (version 7) for each noun, so that one cannot stand in for another.
//!
//! Never here: making a new one. Randomness belongs to the clock.

use sea_orm::{DbErr, DeriveValueType, TryFromU64};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema, DeriveValueType,
        )]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(Uuid);

        impl $name {
            /// The identifier that this UUID is.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID beneath.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Uuid {
                id.0
            }
        }

        // SeaORM asks this of every primary key. No database numbers these.
        impl TryFromU64 for $name {
            fn try_from_u64(_: u64) -> Result<Self, DbErr> {
                Err(DbErr::ConvertFromU64(stringify!($name)))
            }
        }
    };
}

id! {
    /// A person's account.
    UserId
}
id! {
    /// One login of a user on one device. Its tokens name it.
    SessionId
}
id! {
    /// A private chat or a group.
    ConversationId
}
id! {
    /// A message, in whichever conversation.
    MessageId
}
id! {
    /// One line of the audit trail.
    AuditEventId
}
id! {
    /// A copy of somebody's data.
    ExportId
}
id! {
    /// What somebody told the operators.
    ReportId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_there_and_back() {
        let id = UserId::from_uuid(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(id.to_string(), "01990000-0000-7000-8000-000000000001");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert!("not an id".parse::<UserId>().is_err());
    }
}
