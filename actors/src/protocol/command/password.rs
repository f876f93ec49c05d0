//! Passwords: registering and signing in with one, setting another, and showing again who one is.
//! Never what a good password is: the node's settings say that.

use super::{Access, Command, Device, Doors, OtpChannel, oauth};
use crate::protocol::check;
use crate::protocol::error::{Outcome, Refusal};
use crate::protocol::view;
use serde::Deserialize;
use std::fmt;
use utoipa::ToSchema;
use zeroize::Zeroizing;

/// The most characters of a password.
pub const PASSWORD_CHARACTERS: usize = 128;

/// A password, as somebody typed it. It is never printed, and its memory is overwritten when it is dropped.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, format = Password)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn check(&self, field: &'static str) -> Outcome<()> {
        let length = self.0.chars().count();
        if length == 0 || length > PASSWORD_CHARACTERS {
            let message = format!("must be 1 to {PASSWORD_CHARACTERS} characters");
            return Err(Refusal::invalid(field, message).into());
        }
        Ok(())
    }
}

impl From<&str> for Password {
    fn from(text: &str) -> Password {
        Password(Zeroizing::new(text.to_owned()))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// Makes an account with a password, for a number or an address that a code was sent to for that purpose.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// From `auth.sendOtp` with the purpose `register`.
    pub verification_id: String,
    /// The six digits.
    pub code: String,
    /// The password.
    pub password: Password,
    /// A name by which others find the account; see `users.updateProfile`.
    pub username: Option<String>,
    /// The name that others see.
    pub display_name: Option<String>,
    /// The language of texts that the node writes, BCP 47, such as `de` or `pt-BR`: `locale` of the account's settings.
    pub locale: Option<String>,
    /// What the person calls from.
    pub device: Option<Device>,
}
command!(Register = "auth.register" -> view::SignedIn, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::verification(&c.verification_id, &c.code)?;
    c.password.check("password")?;
    if let Some(name) = &c.username {
        check::username(name)?;
    }
    if let Some(name) = &c.display_name {
        check::text("displayName", name, 1, 100)?;
    }
    if let Some(locale) = &c.locale {
        check::locale(locale)?;
    }
    c.device.as_ref().map_or(Ok(()), Device::check)
});

/// Signs in: with `identifier` and `password`, or with `verificationId` and `code` as `auth.verifyOtp` does.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Login {
    /// A phone number in international form, an e-mail address, or a username.
    pub identifier: Option<String>,
    /// The password.
    pub password: Option<Password>,
    /// From `auth.sendOtp`, instead of both.
    pub verification_id: Option<String>,
    /// The six digits.
    pub code: Option<String>,
    /// What the person calls from.
    pub device: Option<Device>,
}
command!(Login = "auth.login" -> view::SignedIn, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    match (&c.identifier, &c.password, &c.verification_id, &c.code) {
        (Some(identifier), Some(password), None, None) => {
            check::text("identifier", identifier, 1, 254)?;
            password.check("password")?;
        }
        (None, None, Some(id), Some(code)) => check::verification(id, code)?,
        (Some(_), None, None, None) => return Err(Refusal::invalid("password", "is missing").into()),
        (None, None, Some(_), None) => return Err(Refusal::invalid("code", "is missing").into()),
        _ => {
            let message = "give identifier and password, or verificationId and code";
            return Err(Refusal::invalid("identifier", message).into());
        }
    }
    c.device.as_ref().map_or(Ok(()), Device::check)
});

/// Sets the account's password, also its first one. Every other session of the account ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePassword {
    /// The new password.
    pub new_password: Password,
    /// Whether the other sessions go on.
    #[serde(default)]
    pub keep_sessions: bool,
}
command!(ChangePassword = "auth.changePassword" -> (), ACCESS: Access::Fresh; |c| c.new_password.check("newPassword"));

/// Asks for a code with which to set a new password. The answer is the same whether or not there is such an account.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForgotPassword {
    /// A phone number in international form, or an e-mail address: no username, which everybody knows.
    pub identifier: String,
    /// How the code travels; by SMS to a number and by e-mail to an address unless said.
    pub channel: Option<OtpChannel>,
    /// The language of the text, BCP 47; as in `auth.sendOtp`.
    pub locale: Option<String>,
}
command!(ForgotPassword = "auth.forgotPassword" -> view::OtpSent, ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::text("identifier", &c.identifier, 1, 254)?;
    c.locale.as_deref().map_or(Ok(()), |locale| check::locale(locale).map(drop))
});

/// Sets a new password with a code of `auth.forgotPassword`. Every session of the account ends, and none begins.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResetPassword {
    /// From `auth.forgotPassword`.
    pub verification_id: String,
    /// The six digits.
    pub code: String,
    /// The new password.
    pub new_password: Password,
}
command!(ResetPassword = "auth.resetPassword" -> (), ACCESS: Access::Public, DOORS: Doors::Rest; |c| {
    check::verification(&c.verification_id, &c.code)?;
    c.new_password.check("newPassword")
});

/// Shows again who one is, so that the session may change how the account is signed in to: with the second factor's
/// `code` if the account has one, else with its `password`; else with a code that was sent for that purpose, or with an
/// identity that is linked to the account: the `code` and `codeVerifier` of a flow that was begun with
/// `reauthenticateSession`, or an `idToken` that a provider's SDK has just given to a native app.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reauthenticate {
    /// The password, of an account that has one and no second factor.
    pub password: Option<Password>,
    /// From `auth.sendOtp` with the purpose `reauthenticate`, for an account that has neither.
    pub verification_id: Option<String>,
    /// The code of the second factor, a backup code, the six digits that belong to `verificationId`, or what a flow's
    /// browser came back with.
    pub code: Option<String>,
    /// What the flow's PKCE challenge was made of; `code` is the flow's then.
    pub code_verifier: Option<String>,
    /// Who gave `idToken`, as this node calls it.
    pub provider: Option<String>,
    /// An id token of OpenID Connect; taken once, and not if it tells of a sign-in that is long past.
    pub id_token: Option<String>,
    /// The nonce that the app asked for, as it stands in the id token.
    pub nonce: Option<String>,
}
command!(Reauthenticate = "auth.reauthenticate" -> view::Reauthenticated; |c| {
    if let Some(password) = &c.password {
        password.check("password")?;
    }
    match (&c.verification_id, &c.code) {
        (Some(id), Some(code)) => check::verification(id, code)?,
        (Some(id), None) => check::text("verificationId", id, 1, 64)?,
        (None, Some(code)) => check::text("code", code, 1, 64)?,
        (None, None) => {}
    }
    if let Some(value) = &c.code_verifier {
        oauth::verifier(value)?;
    }
    if c.provider.is_some() != c.id_token.is_some() {
        return Err(Refusal::invalid("idToken", "goes with its provider").into());
    }
    let given = [
        ("provider", &c.provider, oauth::PROVIDER),
        ("idToken", &c.id_token, oauth::FOREIGN),
        ("nonce", &c.nonce, oauth::NONCE),
    ];
    for (field, value, longest) in given {
        value.as_ref().map_or(Ok(()), |value| check::text(field, value, 1, longest))?;
    }
    Ok(())
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_printed() {
        let command = ChangePassword { new_password: "correct horse".into(), keep_sessions: false };
        assert!(!format!("{command:?}").contains("horse"));
    }

    #[test]
    fn what_belongs_to_a_verification_is_six_digits() {
        let check = |id: Option<&str>, code: &str| {
            let (verification_id, code) = (id.map(str::to_owned), Some(code.to_owned()));
            Reauthenticate { verification_id, code, ..Reauthenticate::default() }.check().is_ok()
        };
        assert!(check(Some("x"), "123456") && check(None, "123456") && check(None, "01234-56789"));
        for wrong in ["", "12345", "1234567", "12345a", "01234-56789", "123456 "] {
            assert!(!check(Some("x"), wrong), "{wrong}");
        }
    }

    #[test]
    fn a_login_is_one_thing_or_the_other() {
        let text = |text: &str| Some(text.to_owned());
        let by_password = || Login { identifier: text("ann"), password: Some("secret".into()), ..Login::default() };
        let by_code = || Login { verification_id: text("x"), code: text("123456"), ..Login::default() };
        assert!(by_password().check().is_ok() && by_code().check().is_ok());
        for bad in [
            Login::default(),
            Login { password: None, ..by_password() },
            Login { password: Some("".into()), ..by_password() },
            Login { password: Some("é".repeat(PASSWORD_CHARACTERS + 1).as_str().into()), ..by_password() },
            Login { identifier: None, ..by_password() },
            Login { code: text("12345"), ..by_code() },
            Login { code: None, ..by_code() },
            Login { code: text("123456"), ..by_password() },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
