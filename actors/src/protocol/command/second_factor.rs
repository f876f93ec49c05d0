//! The second factor: an authenticator app, and the backup codes for whoever has lost it.
//! Never whether a code is right.

use super::{Access, Command, Doors};
use crate::protocol::check;
use crate::protocol::error::Outcome;
use crate::protocol::view;
use serde::Deserialize;
use utoipa::ToSchema;

/// Makes a secret for an authenticator app. It guards nothing until `auth.enable2fa` shows that the app has it.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct Setup2fa {}
command!(Setup2fa = "auth.setup2fa" -> view::SecondFactorSetup, ACCESS: Access::Fresh);

/// Switches the second factor on, with the first code of the app; gives the backup codes, this once.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Enable2fa {
    /// The six digits that the app shows.
    pub code: String,
}
command!(Enable2fa = "auth.enable2fa" -> view::BackupCodes, ACCESS: Access::Fresh; |c| code(&c.code));

/// Switches the second factor off.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disable2fa {
    /// The app's six digits, or a backup code.
    pub code: String,
}
command!(Disable2fa = "auth.disable2fa" -> (), ACCESS: Access::Fresh; |c| code(&c.code));

/// Gives ten new backup codes; none of those before works any more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RegenerateBackupCodes {
    /// The app's six digits, or a backup code.
    pub code: String,
}
command!(RegenerateBackupCodes = "auth.regenerateBackupCodes" -> view::BackupCodes, ACCESS: Access::Fresh;
    |c| code(&c.code));

/// The second step of signing in, whatever the first one was.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verify2fa {
    /// From the first step.
    pub challenge_token: String,
    /// The app's six digits, or a backup code.
    pub code: String,
}
command!(Verify2fa = "auth.verify2fa" -> view::SignedIn, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::text("challengeToken", &c.challenge_token, 1, 64)?;
    code(&c.code)
});

fn code(code: &str) -> Outcome<()> {
    check::text("code", code, 1, 32)
}
