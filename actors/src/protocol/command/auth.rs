//! Signing in and staying so.
//! Never what a password or a code must be like beyond its form.

use super::{Access, Command, Doors};
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Asks for a one-time code, to a number or to an e-mail address.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendOtp {
    /// The number in international form (E.164), e.g. `+4915112345678`.
    pub phone_number: Option<String>,
    /// The e-mail address, instead of a number.
    pub email: Option<String>,
    /// How the code travels; by SMS to a number and by e-mail to an address unless said.
    pub channel: Option<OtpChannel>,
    /// What the code is for; to sign in unless said.
    #[serde(default)]
    pub purpose: OtpPurpose,
    /// The language of the text, BCP 47, such as `de` or `pt-BR`. Unless it is said and there is such a text: that of the
    /// account's settings, else what the header `Accept-Language` asks for, else the node's.
    pub locale: Option<String>,
}
command!(SendOtp = "auth.sendOtp" -> view::OtpSent, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    let own = c.purpose == OtpPurpose::Reauthenticate;
    match (&c.phone_number, &c.email) {
        // Whoever has signed in names nothing: the code goes to what their account has.
        (None, None) if own => {}
        (Some(_), _) if own => return Err(Refusal::invalid("phoneNumber", "the code goes to what the account has").into()),
        (None, Some(_)) if own => return Err(Refusal::invalid("email", "the code goes to what the account has").into()),
        (Some(_), Some(_)) => return Err(Refusal::invalid("email", "give one of phoneNumber and email").into()),
        (Some(number), None) => check::text("phoneNumber", number, 1, 32)?,
        (None, Some(email)) => check::text("email", email, 3, 254)?,
        (None, None) => return Err(Refusal::invalid("phoneNumber", "give a phoneNumber or an email").into()),
    }
    c.locale.as_deref().map_or(Ok(()), |locale| check::locale(locale).map(drop))
});

/// How a code travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OtpChannel {
    /// A text message.
    Sms,
    /// A call that reads it out.
    Call,
    /// A WhatsApp message.
    Whatsapp,
    /// An e-mail.
    Email,
}

/// What a one-time code is for; a code for one purpose does not serve another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OtpPurpose {
    /// To sign in; by phone this registers whom nobody knows yet. By e-mail the answer is the same whether or not an
    /// account has the address, and only that gets a code.
    #[default]
    SignIn,
    /// To register with a password.
    Register,
    /// To show again who one is: whoever has signed in, with neither a number nor an address.
    Reauthenticate,
    /// To set a new password: asked for by `auth.forgotPassword`.
    ResetPassword,
    /// To take another number: whoever has signed in not long ago.
    ChangePhone,
    /// To take another e-mail address: whoever has signed in not long ago; the same as `auth.changeEmail`.
    ChangeEmail,
}

/// Tries a code against a verification; signs in, and registers whom nobody knows yet.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyOtp {
    /// From `auth.sendOtp`.
    pub verification_id: String,
    /// The six digits.
    pub code: String,
    /// What the person calls from.
    pub device: Option<Device>,
}
command!(VerifyOtp = "auth.verifyOtp" -> view::SignedIn, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::verification(&c.verification_id, &c.code)?;
    c.device.as_ref().map_or(Ok(()), Device::check)
});

/// What a person calls from, as shown in the list of their sessions.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Stable on that device, chosen by the client.
    pub id: Option<String>,
    /// As the person knows it.
    pub name: Option<String>,
    /// `ios`, `android`, `web`, ...
    pub platform: Option<String>,
}

impl Device {
    /// Refuses what is too long to be shown.
    ///
    /// # Errors
    /// `request.invalid`
    pub fn check(&self) -> Outcome<()> {
        for (field, value) in
            [("device.id", &self.id), ("device.name", &self.name), ("device.platform", &self.platform)]
        {
            if let Some(value) = value {
                check::text(field, value, 1, 100)?;
            }
        }
        Ok(())
    }
}

/// Spends a refresh token for a new pair.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefreshToken {
    /// The refresh token; absent in a browser that keeps it in a cookie.
    pub refresh_token: String,
}
command!(RefreshToken = "auth.refreshToken" -> view::Tokens, ACCESS: Access::Public, DOORS: Doors::Rest;
    |c| check::text("refreshToken", &c.refresh_token, 1, 256));

/// Ends the session of a refresh token.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Logout {
    /// Any refresh token of the session.
    pub refresh_token: String,
}
command!(Logout = "auth.logout" -> (), ACCESS: Access::Public, DOORS: Doors::Rest;
    |c| check::text("refreshToken", &c.refresh_token, 1, 256));

/// Gives a socket a new access token of the same user and session, so that it outlives the old one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Renew {
    /// The new access token.
    pub access_token: String,
}
command!(Renew = "auth.renew" -> view::Renewed, DOORS: Doors::Sockets);
