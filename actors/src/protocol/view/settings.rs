//! What somebody has set for themselves, as their own devices see it.
//! Never anything that others see.

use entities::{Privacy, Settings};
use serde::Serialize;
use utoipa::ToSchema;

/// The caller's settings, and what follows from them now.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnSettings {
    /// The user's counter when settings or privacy changed last; 0 if they never did.
    pub user_rev: i64,
    /// Everything that is set.
    #[serde(flatten)]
    pub settings: Settings,
    /// Whether nobody is to disturb now.
    pub quiet: bool,
}

/// Whom the caller lets see and do what.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnPrivacy {
    /// The user's counter when settings or privacy changed last; 0 if they never did.
    pub user_rev: i64,
    /// One audience for each thing.
    #[serde(flatten)]
    pub privacy: Privacy,
}

/// What somebody has set, and whom they let see and do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chosen {
    /// What they have set.
    pub settings: Settings,
    /// Whom they let see and do what.
    pub privacy: Privacy,
}
