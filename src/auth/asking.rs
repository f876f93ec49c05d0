//! Asking for a code by `auth.sendOtp`: for each purpose, where the code goes and who is to have it.
//! Never the code itself (see `otp`), nor what it is good for afterwards.

use super::contact::Contact;
use super::login::owner;
use super::otp::{Asking, Recipient};
use crate::app::App;
use crate::gateway::dispatch::Run;
use actors::caller::Caller;
use actors::protocol::command::{OtpChannel, OtpPurpose, SendOtp};
use actors::protocol::{ErrorCode, Outcome, Refusal, view};
use entities::{Settings, UserId, user};
use sea_orm::sea_query::{Expr, Query};
use sea_orm::{ConnectionTrait, DbErr, QuerySelect, QueryTrait};

/// What a code is asked for: where to, for whom, and in which language, as its account says.
struct Target {
    contact: Contact,
    recipient: Recipient,
    user: Option<UserId>,
    locale: Option<String>,
}

/// Whether whoever asks for such a code must have signed in.
pub fn asks_who(purpose: OtpPurpose) -> bool {
    matches!(purpose, OtpPurpose::Reauthenticate | OtpPurpose::ChangePhone | OtpPurpose::ChangeEmail)
}

/// The language that somebody has set; none if they never set anything.
pub fn locale_of(account: &user::Model) -> Option<&str> {
    (account.settings_user_rev > 0).then_some(account.settings.locale.as_str())
}

/// The account that has a contact, as far as codes need to know it.
pub struct Holder {
    /// The language that they have set.
    pub locale: Option<String>,
}

/// Whose a contact is. No more is read than that, and a row is the answer also if it is nobody's: to read a whole one, or
/// one at all, takes a time that tells that there is one.
///
/// # Errors
/// Those of the database.
pub async fn holder(db: &impl ConnectionTrait, contact: &Contact) -> Result<Option<Holder>, DbErr> {
    let of = |column| Expr::from(owner(contact).select_only().column(column).into_query());
    let columns = [user::Column::SettingsUserRev, user::Column::Settings];
    let Some(row) = db.query_one(Query::select().exprs(columns.map(of))).await? else { return Ok(None) };
    let Some(user_rev) = row.try_get_by_index::<Option<i64>>(0)? else { return Ok(None) };
    let settings = row.try_get_by_index::<Option<Settings>>(1)?.filter(|_| user_rev > 0);
    Ok(Some(Holder { locale: settings.map(|settings| settings.locale) }))
}

/// The languages in which somebody is best written to, the dearest first and with commas between: what they say with
/// what they ask for, what their account says, and what their client says.
pub fn languages(said: Option<&str>, of_account: Option<&str>, caller: &Caller) -> String {
    [said, of_account, caller.languages.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(",")
}

impl Run for SendOtp {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::OtpSent> {
        let target = match self.purpose {
            OtpPurpose::SignIn => to_sign_in(app, &self).await?,
            OtpPurpose::Register => {
                Target { contact: given(&self)?, recipient: Recipient::Anybody, user: None, locale: None }
            }
            OtpPurpose::Reauthenticate => {
                let identity = caller.identity()?;
                app.sessions.check(identity).await?;
                to_own(app, identity.user, self.channel).await?
            }
            OtpPurpose::ChangePhone | OtpPurpose::ChangeEmail => {
                let identity = caller.identity()?;
                app.sessions.check_fresh(identity).await?;
                to_new(app, identity.user, given(&self)?, self.purpose).await?
            }
            OtpPurpose::ResetPassword => {
                return Err(Refusal::invalid("purpose", "ask for this code by auth.forgotPassword").into());
            }
        };
        send(app, caller, &target, &self).await
    }
}

async fn send(app: &App, caller: &Caller, target: &Target, command: &SendOtp) -> Outcome<view::OtpSent> {
    let languages = languages(command.locale.as_deref(), target.locale.as_deref(), caller);
    let asking = Asking {
        contact: &target.contact,
        recipient: target.recipient,
        channel: command.channel,
        purpose: command.purpose,
        user: target.user,
        address: caller.address,
        locale: Some(&languages),
    };
    app.auth.otp.send(asking).await
}

/// The contact that a command names.
fn given(command: &SendOtp) -> Outcome<Contact> {
    match (&command.phone_number, &command.email) {
        (_, Some(email)) => Contact::email(email),
        (number, None) => Contact::phone(number.as_deref().unwrap_or_default()),
    }
}

/// A number is registered by signing in, so that whoever has it gets a code. An e-mail address is not: only its account
/// does. Either way the rows are asked once, whatever they hold.
async fn to_sign_in(app: &App, command: &SendOtp) -> Outcome<Target> {
    let contact = given(command)?;
    let known = holder(app.db.read(), &contact).await?;
    let recipient = match &contact {
        Contact::Phone(_) => Recipient::Anybody,
        Contact::Email(_) => Recipient::owner(known.is_some()),
    };
    Ok(Target { contact, recipient, user: None, locale: known.and_then(|holder| holder.locale) })
}

/// To what the account has: its number, or its e-mail address if that is asked for or all there is.
async fn to_own(app: &App, user: UserId, channel: Option<OtpChannel>) -> Outcome<Target> {
    let account = user::by_id(user).one(app.db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
    let locale = locale_of(&account).map(str::to_owned);
    let email = account.email.map(Contact::of_spelt);
    let phone = account.phone.map(Contact::of_spelt);
    let contact = match channel {
        Some(OtpChannel::Email) => email,
        Some(_) => phone,
        None => phone.or(email),
    };
    let contact = contact.ok_or_else(|| Refusal::invalid("channel", "the account has nothing to which this leads"))?;
    Ok(Target { contact, recipient: Recipient::Anybody, user: Some(user), locale })
}

/// To what an account is to have from now on. Whether another has it is told to whoever has the code.
async fn to_new(app: &App, user: UserId, contact: Contact, purpose: OtpPurpose) -> Outcome<Target> {
    match (&contact, purpose) {
        (Contact::Phone(_), OtpPurpose::ChangeEmail) => {
            return Err(Refusal::invalid("email", "give the new e-mail address").into());
        }
        (Contact::Email(_), OtpPurpose::ChangePhone) => {
            return Err(Refusal::invalid("phoneNumber", "give the new phone number").into());
        }
        _ => {}
    }
    let account = user::by_id(user).one(app.db.read()).await?.ok_or(ErrorCode::UserNotFound)?;
    let locale = locale_of(&account).map(str::to_owned);
    Ok(Target { contact, recipient: Recipient::Anybody, user: Some(user), locale })
}

impl Run for actors::protocol::command::ChangeEmail {
    async fn run(self, app: &App, caller: &Caller) -> Outcome<view::OtpSent> {
        let purpose = OtpPurpose::ChangeEmail;
        let target = to_new(app, caller.user()?, Contact::email(&self.email)?, purpose).await?;
        let command = SendOtp { purpose, locale: self.locale, ..SendOtp::default() };
        send(app, caller, &target, &command).await
    }
}
