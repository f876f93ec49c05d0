//! What somebody lets others see of them, and lets them do: the JSON in `users.privacy`.
//!
//! Never here: the rule that decides it for somebody (see `actors::privacy`).

use sea_orm::DeriveValueType;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// For whom something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Everybody who is not blocked.
    Everyone,
    /// Those in the person's own address book.
    Contacts,
    /// Nobody else.
    Nobody,
}

/// One audience for each thing. What a row does not name is as in `Privacy::default()`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, DeriveValueType)]
#[serde(rename_all = "camelCase", default)]
#[sea_orm(value_type = "String")]
pub struct Privacy {
    /// Who sees whether the person is there, and when they last were.
    pub last_seen: Audience,
    /// Who sees the picture.
    pub photo: Audience,
    /// Who sees what the person says about themselves, and their status.
    pub bio: Audience,
    /// Who sees the phone number.
    pub phone_number: Audience,
    /// Who finds the person by their number.
    pub found_by_number: Audience,
    /// Who is told what the person has read. In groups: all or nobody.
    pub read_receipts: Audience,
    /// Who may add the person to a group.
    pub added_to_groups: Audience,
    /// Who may call.
    pub called: Audience,
    /// Whose new private chats open as chats; those of others land as requests.
    pub private_chats: Audience,
}

impl Default for Privacy {
    fn default() -> Privacy {
        Privacy {
            last_seen: Audience::Everyone,
            photo: Audience::Everyone,
            bio: Audience::Everyone,
            phone_number: Audience::Nobody,
            found_by_number: Audience::Everyone,
            read_receipts: Audience::Everyone,
            added_to_groups: Audience::Everyone,
            called: Audience::Everyone,
            private_chats: Audience::Everyone,
        }
    }
}

impl fmt::Display for Privacy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Privacy {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> Result<Privacy, serde_json::Error> {
        match text {
            "{}" => Ok(Privacy::default()),
            text => serde_json::from_str(text),
        }
    }
}
