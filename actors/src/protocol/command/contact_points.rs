//! The e-mail address and the phone number of an account: asking for another, and showing that it is one's own.
//! Never whether somebody else has it, before whoever asks has shown that.

use super::{Access, Command};
use crate::protocol::check;
use crate::protocol::error::Outcome;
use crate::protocol::view;
use serde::Deserialize;
use utoipa::ToSchema;

/// Asks for a code to an e-mail address that the caller wants to have on their account. `auth.verifyEmail` takes it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeEmail {
    /// The new address.
    pub email: String,
    /// The language of the letter, BCP 47; as in `auth.sendOtp`.
    pub locale: Option<String>,
}
command!(ChangeEmail = "auth.changeEmail" -> view::OtpSent, ACCESS: Access::Fresh; |c| {
    check::text("email", &c.email, 3, 254)?;
    c.locale.as_deref().map_or(Ok(()), |locale| check::locale(locale).map(drop))
});

/// Gives the caller's account the e-mail address to which a code was sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyEmail {
    /// From `auth.changeEmail`.
    pub verification_id: String,
    /// The six digits.
    pub code: String,
}
command!(VerifyEmail = "auth.verifyEmail" -> view::User; |c| check::verification(&c.verification_id, &c.code));

/// Gives the caller's account the phone number to which a code was sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePhone {
    /// From `auth.sendOtp` with the purpose `changePhone`.
    pub verification_id: String,
    /// The six digits.
    pub code: String,
}
command!(ChangePhone = "users.changePhone" -> view::User, ACCESS: Access::Fresh;
    |c| check::verification(&c.verification_id, &c.code));
