//! Refusals, which a client can act on, and faults, which say nothing outside.
//! Never decides anything: whoever refuses names the code.

use entities::UserId;
use serde::Serialize;
use std::borrow::Cow;
use std::time::Duration;

/// What a command comes to.
pub type Outcome<T> = Result<T, Error>;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request cannot be served as it is; the client can act on the code.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// Something of ours failed; logged where it is caught, answered as retryable.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A failure of ours, with its source for the log.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Fault {
    /// Wraps whatever failed.
    pub fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
        Fault(source.into())
    }

    /// What failed.
    pub fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        self.0
    }
}

impl From<sea_orm::DbErr> for Error {
    fn from(source: sea_orm::DbErr) -> Error {
        Error::Fault(Fault::new(source))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Error {
        Error::Refused(Refusal::new(code))
    }
}

/// A refusal: a code, a sentence, and where it applies the field and when to try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code that a client acts on.
    pub code: ErrorCode,
    /// A sentence for a developer.
    pub message: Cow<'static, str>,
    /// The input field that is wrong.
    pub field: Option<Cow<'static, str>>,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// The users because of whom it is refused, where the request names several.
    pub user_ids: Vec<UserId>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl Refusal {
    /// A refusal with the code's own sentence.
    pub fn new(code: ErrorCode) -> Refusal {
        Refusal { code, message: Cow::Borrowed(code.sentence()), field: None, retry_after: None, user_ids: Vec::new() }
    }

    /// `request.invalid` for one field.
    pub fn invalid(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal {
            code: ErrorCode::RequestInvalid,
            message: message.into(),
            field: Some(field.into()),
            retry_after: None,
            user_ids: Vec::new(),
        }
    }

    /// The same refusal with another sentence.
    pub fn saying(mut self, message: impl Into<Cow<'static, str>>) -> Refusal {
        self.message = message.into();
        self
    }

    /// The same refusal, of a field that names several users, because of these.
    pub fn because_of(mut self, field: &'static str, users: Vec<UserId>) -> Refusal {
        (self.field, self.user_ids) = (Some(field.into()), users);
        self
    }

    /// The same refusal, worth trying again after `wait`.
    pub fn after(mut self, wait: Duration) -> Refusal {
        self.retry_after = Some(wait);
        self
    }
}

/// An error as it stands in a reply, at every door.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ErrorBody)]
pub struct Body<'a> {
    /// `domain.reason`.
    pub code: &'a str,
    /// A sentence for a developer; not for people.
    pub message: &'a str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// Milliseconds after which to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The input field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'a str>,
    /// The users because of whom it is refused, where the request names several.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub user_ids: &'a [UserId],
    /// Names this request in the node's log.
    pub request_id: &'a str,
}

impl Error {
    /// The code that goes out: a fault is `server.unavailable`.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Refused(refusal) => refusal.code,
            Error::Fault(_) => ErrorCode::ServerUnavailable,
        }
    }

    /// The error as clients see it.
    pub fn body<'a>(&'a self, request_id: &'a str) -> Body<'a> {
        let code = self.code();
        let (message, field, retry_after, user_ids) = match self {
            Error::Refused(r) => (r.message.as_ref(), r.field.as_deref(), r.retry_after, &r.user_ids[..]),
            Error::Fault(_) => (code.sentence(), None, None, &[][..]),
        };
        let retry_after_ms = retry_after.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        Body { code: code.as_str(), message, retryable: code.retryable(), retry_after_ms, field, user_ids, request_id }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal, $sentence:literal;)+) => {
        /// Every code that a client may meet: one table for all doors.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[doc = $doc])+ $name,)+ }

        impl ErrorCode {
            /// All of them, for documents and tests.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name,)+];

            /// `domain.reason`, as it goes out.
            pub fn as_str(self) -> &'static str { match self { $(ErrorCode::$name => $code,)+ } }

            /// The HTTP status that REST answers with.
            pub fn status(self) -> u16 { match self { $(ErrorCode::$name => $status,)+ } }

            /// A sentence that says what it means.
            pub fn sentence(self) -> &'static str { match self { $(ErrorCode::$name => $sentence,)+ } }
        }
    };
}

codes! {
    /// The frame or body is no JSON object of the expected shape.
    RequestMalformed = "request.malformed", 400, "The request is not the JSON that was expected.";
    /// A field is missing, mistyped or out of range.
    RequestInvalid = "request.invalid", 422, "A field is missing, mistyped or out of range.";
    /// There is no such command.
    RequestUnknownCommand = "request.unknown_command", 404, "There is no such command.";
    /// There is no such resource.
    RequestNotFound = "request.not_found", 404, "There is no such resource.";
    /// The resource does not take this method.
    RequestMethodNotAllowed = "request.method_not_allowed", 405, "The resource does not take this method.";
    /// The command is not served at this door.
    RequestWrongDoor = "request.wrong_door", 403, "This command is not served at this door.";
    /// The body or frame is larger than is taken.
    RequestTooLarge = "request.too_large", 413, "The request is larger than the limit.";
    /// The body is not JSON by its Content-Type.
    RequestUnsupportedMediaType = "request.unsupported_media_type", 415, "The body must be application/json.";
    /// Too many requests of this user, address or socket.
    RequestRateLimited = "request.rate_limited", 429, "Too many requests; slow down.";
    /// Too many commands under way on this socket.
    RequestTooManyInFlight = "request.too_many_in_flight", 429, "Too many commands under way on this socket.";
    /// The Origin is not one of those that may use this node.
    RequestForbiddenOrigin = "request.forbidden_origin", 403, "This origin may not use this node.";
    /// No token, or one that is not ours.
    AuthUnauthenticated = "auth.unauthenticated", 401, "A valid access token is needed.";
    /// The token's time is over.
    AuthTokenExpired = "auth.token_expired", 401, "The access token has expired; refresh it.";
    /// The session was ended.
    AuthSessionRevoked = "auth.session_revoked", 401, "The session was ended; sign in again.";
    /// No such session, or none of the caller's.
    AuthSessionNotFound = "auth.session_not_found", 404, "There is no such session.";
    /// The caller's role does not allow this.
    AuthForbidden = "auth.forbidden", 403, "Your role does not allow this.";
    /// The session is too long ago signed in for this.
    AuthReauthenticationRequired = "auth.reauthentication_required", 403, "Show again who you are (auth.reauthenticate), and repeat.";
    /// The code is wrong.
    AuthOtpInvalid = "auth.otp_invalid", 422, "The code is wrong.";
    /// The verification is over: used, too old, or unknown.
    AuthOtpExpired = "auth.otp_expired", 410, "The verification is over; ask for a new code.";
    /// The verification's tries are used up.
    AuthOtpExhausted = "auth.otp_exhausted", 429, "Too many wrong codes; ask for a new one.";
    /// Too many codes for this number.
    AuthOtpBudget = "auth.otp_budget", 429, "Too many codes were asked for; try again later.";
    /// Codes are not sent to this country.
    AuthOtpCountry = "auth.otp_country", 403, "No codes are sent to this country.";
    /// Another account has this phone number.
    AuthPhoneTaken = "auth.phone_taken", 409, "Another account has this phone number.";
    /// Another account has this e-mail address.
    AuthEmailTaken = "auth.email_taken", 409, "Another account has this e-mail address.";
    /// No such account, or not its password: which of both is not told.
    AuthCredentialsInvalid = "auth.credentials_invalid", 401, "There is no such account with this password.";
    /// Too many wrong tries, or passwords set, for now.
    AuthTooManyTries = "auth.too_many_tries", 429, "Too many tries; wait, or sign in another way.";
    /// The password is too easy to guess.
    AuthPasswordWeak = "auth.password_weak", 422, "The password is too easy to guess.";
    /// Whoever registers has an account already.
    AuthAccountExists = "auth.account_exists", 409, "There is an account already; sign in, or set a new password.";
    /// More passwords are to be checked than may wait for it.
    AuthBusy = "auth.busy", 503, "Too many passwords are being checked at once; try again.";
    /// The challenge is over: used, too old, or unknown.
    AuthChallengeExpired = "auth.challenge_expired", 410, "This is over, or was used already; begin again.";
    /// The challenge's tries are used up.
    AuthChallengeExhausted = "auth.challenge_exhausted", 429, "Too many wrong answers; begin again.";
    /// The authenticator's or backup code is wrong, or was used before.
    AuthSecondFactorInvalid = "auth.second_factor_invalid", 422, "The code is wrong, or was used before.";
    /// Too many wrong codes in a row.
    AuthSecondFactorLimited = "auth.second_factor_limited", 429, "Too many wrong codes; wait, or use a backup code.";
    /// The second factor is not on, or was not set up.
    AuthSecondFactorMissing = "auth.second_factor_missing", 409, "There is no second factor; set it up first.";
    /// The second factor is on already.
    AuthSecondFactorEnabled = "auth.second_factor_enabled", 409, "The second factor is on; switch it off first.";
    /// No such provider of identities.
    AuthProviderUnknown = "auth.provider_unknown", 404, "This node knows no such provider.";
    /// A provider of identities does not answer as it should.
    AuthProviderUnavailable = "auth.provider_unavailable", 503, "The provider does not answer; try again.";
    /// The person or the provider did not want it.
    AuthProviderRefused = "auth.provider_refused", 403, "The provider has not let the person in.";
    /// What is said to come from a provider does not, is over, or is for somebody else.
    AuthIdentityInvalid = "auth.identity_invalid", 422, "What the provider is said to have told was not accepted.";
    /// The identity is linked to another account.
    AuthIdentityTaken = "auth.identity_taken", 409, "This identity is linked to another account.";
    /// The account has no identity there.
    AuthIdentityNotFound = "auth.identity_not_found", 404, "Your account is not linked to this provider.";
    /// Without it nobody could sign in to the account any more.
    AuthLastWayIn = "auth.last_way_in", 409, "This is the last way to sign in to your account: add another one first.";
    /// The refresh token is not one that can be spent.
    AuthRefreshInvalid = "auth.refresh_invalid", 401, "The refresh token is not valid; sign in again.";
    /// A spent refresh token came again: the session was ended.
    AuthRefreshReused = "auth.refresh_reused", 401, "The refresh token was used before; the session was ended. Sign in again.";
    /// No such user, or none that the caller may see.
    UserNotFound = "user.not_found", 404, "There is no such user.";
    /// Somebody does not let the caller add them to a group.
    UserNotAddable = "user.not_addable", 403, "Not all of these people let you add them to a group.";
    /// Somebody else has this name.
    UserUsernameTaken = "user.username_taken", 409, "The username is taken.";
    /// Whoever is named is not in the caller's address book.
    ContactNotFound = "contact.not_found", 404, "There is no such contact.";
    /// The address book has as many entries as it may.
    ContactsFull = "contacts.full", 409, "The address book has as many entries as it may.";
    /// More numbers were asked for than one may ask for in a day.
    ContactsBudget = "contacts.budget", 429, "More numbers were asked for than may be in a day.";
    /// No device of the caller's.
    DeviceNotFound = "device.not_found", 404, "There is no such device.";
    /// As many devices as one may have, on each of which somebody is signed in.
    DeviceTooMany = "device.too_many", 409, "There are as many devices as there may be: remove one first.";
    /// More reports than one may make in a day.
    ReportTooMany = "report.too_many", 429, "Too many reports; try again later.";
    /// A copy is being made already.
    UserExportPending = "user.export_pending", 409, "A copy of your data is being made already.";
    /// Too many copies were asked for.
    UserExportBudget = "user.export_budget", 429, "Too many copies were asked for; try again later.";
    /// No such copy, or none that the caller may have.
    UserExportNotFound = "user.export_not_found", 404, "There is no such copy.";
    /// The link's time is over.
    UserExportExpired = "user.export_expired", 410, "This link is over; ask for another copy.";
    /// No such conversation, or none of the caller's.
    ConversationNotFound = "conversation.not_found", 404, "There is no such conversation.";
    /// The caller's role in the conversation does not allow this.
    ConversationForbidden = "conversation.forbidden", 403, "Your role in this conversation does not allow this.";
    /// Private conversations have no members to change, no name and no roles.
    ConversationNotAGroup = "conversation.not_a_group", 409, "This is possible in groups only.";
    /// What is to be declined is no request, or not any more.
    ConversationNotARequest = "conversation.not_a_request", 409, "This conversation is no request to you.";
    /// The conversation has as many participants as it may.
    ConversationFull = "conversation.full", 409, "The conversation has as many participants as it may.";
    /// One of the two blocks the other, and something was to be said; or the caller has to lift their own block first.
    ConversationBlocked = "conversation.blocked", 403, "One of the two blocks the other: nothing can be said here.";
    /// A group keeps an owner.
    ConversationLastOwner = "conversation.last_owner", 409, "A group needs an owner: transfer the ownership first.";
    /// The conversation's queue is full.
    ConversationBusy = "conversation.busy", 503, "The conversation is busy; try again.";
    /// The `clientId` was used for another conversation.
    ConversationClientIdConflict = "conversation.client_id_conflict", 409, "This clientId was used for another request.";
    /// The user is no participant.
    ParticipantNotFound = "participant.not_found", 404, "The user is no participant of this conversation.";
    /// No such message, or none that the caller may see.
    MessageNotFound = "message.not_found", 404, "There is no such message.";
    /// The `clientId` was used for another message.
    MessageClientIdConflict = "message.client_id_conflict", 409, "This clientId was used for another message.";
    /// The message was deleted.
    MessageDeleted = "message.deleted", 409, "The message was deleted.";
    /// The message carries as many different reactions as it may.
    MessageTooManyReactions = "message.too_many_reactions", 409, "The message carries as many reactions as it may.";
    /// Something of ours is away or failed; nothing is known to have happened.
    ServerUnavailable = "server.unavailable", 503, "The node could not do this now; try again.";
}

impl ErrorCode {
    /// Whether the same request may succeed later.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            ErrorCode::RequestRateLimited
                | ErrorCode::RequestTooManyInFlight
                | ErrorCode::AuthOtpBudget
                | ErrorCode::AuthSecondFactorLimited
                | ErrorCode::ContactsBudget
                | ErrorCode::ReportTooMany
                | ErrorCode::AuthProviderUnavailable
                | ErrorCode::UserExportBudget
                | ErrorCode::AuthTooManyTries
                | ErrorCode::AuthBusy
                | ErrorCode::ConversationBusy
                | ErrorCode::ServerUnavailable
        )
    }
}
