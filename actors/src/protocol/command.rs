//! Every command: its name, request, reply, who may call it and at which doors.
//! Never how it is served: that is one function behind the dispatch.

use super::check;
use super::error::{Outcome, Refusal};
use super::view;
use entities::{ConversationId, MessageId, Role, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who may call a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Anybody who has signed in.
    User,
}

/// Where a command came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `/api/v1`.
    Rest,
    /// `/ws`: everything.
    Socket,
    /// `/ws/chat`: everything but calls.
    ChatSocket,
    /// `/ws/webrtc`: calls and presence only.
    CallSocket,
}

impl Door {
    /// Whether it is a WebSocket.
    pub fn is_socket(self) -> bool {
        self != Door::Rest
    }
}

/// At which doors a command is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doors {
    /// REST and sockets.
    All,
    /// REST alone: what has no place on a socket.
    Rest,
    /// Sockets alone: what means nothing without one.
    Sockets,
}

impl Doors {
    /// Whether the command `name` is served at `door`.
    pub fn serve(self, name: &str, door: Door) -> bool {
        let by_kind = match self {
            Doors::All => true,
            Doors::Rest => !door.is_socket(),
            Doors::Sockets => door.is_socket(),
        };
        let domain = name.split('.').next().unwrap_or_default();
        let by_namespace = match door {
            Door::Rest | Door::Socket => true,
            Door::ChatSocket => domain != "calls",
            Door::CallSocket => matches!(domain, "calls" | "presence") || name == "auth.renew",
        };
        by_kind && by_namespace
    }
}

/// One command: its request is `Self`.
pub trait Command: for<'de> Deserialize<'de> + 'static {
    /// `domain.name`, the same at every door.
    const NAME: &'static str;
    /// Who may call it.
    const ACCESS: Access = Access::User;
    /// Where it is served.
    const DOORS: Doors = Doors::All;
    /// What it answers.
    type Reply: Serialize + 'static;

    /// Refuses values out of range; needs nothing but the request.
    fn check(&self) -> Outcome<()> {
        Ok(())
    }
}

macro_rules! command {
    ($type:ident = $name:literal -> $reply:ty $(, $key:ident: $value:expr)* $(; |$this:ident| $check:expr)?) => {
        impl Command for $type {
            const NAME: &'static str = $name;
            $(const $key: command!(@kind $key) = $value;)*
            type Reply = $reply;
            $(fn check(&self) -> Outcome<()> { let $this = self; $check })?
        }
    };
    (@kind ACCESS) => { Access };
    (@kind DOORS) => { Doors };
}

// --- auth

/// Asks for a one-time code by SMS.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendOtp {
    /// The number in international form (E.164), e.g. `+4915112345678`.
    pub phone_number: String,
    /// What the code is for; `signIn` alone so far.
    #[serde(default)]
    pub purpose: OtpPurpose,
}
command!(SendOtp = "auth.sendOtp" -> view::OtpSent, ACCESS: Access::Public, DOORS: Doors::Rest;
    |c| check::text("phoneNumber", &c.phone_number, 1, 32));

/// What a one-time code is for; a code for one purpose does not serve another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum OtpPurpose {
    /// To sign in, or to register.
    #[default]
    SignIn,
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
    check::text("verificationId", &c.verification_id, 1, 64)?;
    if c.code.len() != 6 || !c.code.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Refusal::invalid("code", "must be six digits").into());
    }
    c.device.as_ref().map_or(Ok(()), Device::check)
});

/// What a person calls from, as shown in the list of their sessions.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
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
    fn check(&self) -> Outcome<()> {
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

// --- users

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

/// Users whose username or display name begins with `q`.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct SearchUsers {
    /// 3 characters or more.
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

// --- conversations

/// Opens a conversation. The same pair always gets the same private one.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateConversation {
    /// `private` or `group`.
    pub kind: entities::ConversationKind,
    /// The others: exactly one for `private`; the caller may be named and counts once.
    #[serde(default)]
    pub participant_ids: Vec<UserId>,
    /// 1 to 200 bytes, groups only.
    pub name: Option<String>,
    /// At most 2000 bytes, groups only.
    pub description: Option<String>,
    /// Makes the request safe to repeat.
    #[serde(skip_serializing)]
    pub client_id: Option<String>,
}
command!(CreateConversation = "conversations.create" -> view::Created; |c| {
    if let Some(id) = &c.client_id {
        check::client_id(id)?;
    }
    check_names(c.name.as_deref(), c.description.as_deref())
});

fn check_names(name: Option<&str>, description: Option<&str>) -> Outcome<()> {
    if let Some(name) = name {
        check::text("name", name, 1, 200)?;
    }
    description.map_or(Ok(()), |text| check::text("description", text, 0, 2000))
}

/// One of the caller's conversations.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetConversation {
    /// Which.
    pub conversation_id: ConversationId,
}
command!(GetConversation = "conversations.get" -> view::Conversation);

/// The caller's conversations, latest message first.
#[derive(Debug, Deserialize, ToSchema, utoipa::IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub struct ConversationsByUser {
    /// From the page before.
    pub cursor: Option<String>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(ConversationsByUser = "conversations.getByUser" -> view::Page<view::Conversation>;
    |c| check::limit(c.limit).map(drop));

/// The members of a conversation, by user id.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListParticipants {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// From the page before.
    pub cursor: Option<String>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(ListParticipants = "conversations.listParticipants" -> view::Page<view::Participant>;
    |c| check::limit(c.limit).map(drop));

/// Adds up to 100 users to a group; who is a member already stays one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddParticipant {
    /// Which group.
    pub conversation_id: ConversationId,
    /// Whom to add.
    pub user_ids: Vec<UserId>,
}
command!(AddParticipant = "conversations.addParticipant" -> view::Conversation;
    |c| check::count("userIds", c.user_ids.len(), 1, 100));

/// Removes a member from a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveParticipant {
    /// Which group.
    pub conversation_id: ConversationId,
    /// Whom to remove.
    pub user_id: UserId,
}
command!(RemoveParticipant = "conversations.removeParticipant" -> ());

/// Leaves a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LeaveConversation {
    /// Which group.
    pub conversation_id: ConversationId,
}
command!(LeaveConversation = "conversations.leave" -> ());

/// Gives a member another role; owners only. The ownership itself is given by `transferOwnership`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetRole {
    /// Which group.
    pub conversation_id: ConversationId,
    /// Whose role.
    pub user_id: UserId,
    /// The new role.
    pub role: Role,
}
command!(SetRole = "conversations.setRole" -> view::Participant);

/// Makes another member the owner; the caller becomes an admin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TransferOwnership {
    /// Which group.
    pub conversation_id: ConversationId,
    /// The new owner.
    pub user_id: UserId,
}
command!(TransferOwnership = "conversations.transferOwnership" -> view::Conversation);

/// Changes a group's name or description. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateConversation {
    /// Which group.
    pub conversation_id: ConversationId,
    /// 1 to 200 bytes.
    pub name: Option<String>,
    /// At most 2000 bytes; empty removes it.
    pub description: Option<String>,
}
command!(UpdateConversation = "conversations.update" -> view::Conversation;
    |c| check_names(c.name.as_deref(), c.description.as_deref()));

/// Changes what of a conversation is the caller's own. Absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateMine {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Shown as unread although it was read; a later `markRead` takes it away.
    pub marked_unread: Option<bool>,
}
command!(UpdateMine = "conversations.updateMine" -> view::Mine);

// --- messages

/// Says something.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SendMessage {
    /// Where.
    pub conversation_id: ConversationId,
    /// 1 byte to 8 KiB of UTF-8.
    pub text: String,
    /// Makes the request safe to repeat; at most 64 bytes, best a UUIDv7.
    pub client_id: String,
    /// A message of the same conversation.
    pub reply_to: Option<MessageId>,
}
command!(SendMessage = "messages.send" -> view::Sent; |c| {
    check::client_id(&c.client_id)?;
    check::text("text", &c.text, 1, check::TEXT_BYTES)
});

/// A page of history: the newest, or before, after or around a `seq`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessagesByConversation {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// Messages below this `seq`, the nearest ones.
    pub before_seq: Option<i64>,
    /// Messages above this `seq`, the nearest ones.
    pub after_seq: Option<i64>,
    /// Messages on both sides of this `seq`, itself among them.
    pub around_seq: Option<i64>,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(MessagesByConversation = "messages.getByConversation" -> view::History; |c| {
    check::limit(c.limit)?;
    let named = [("beforeSeq", c.before_seq), ("afterSeq", c.after_seq), ("aroundSeq", c.around_seq)];
    for (field, value) in named {
        check::number(field, value)?;
    }
    let mut given = named.iter().filter(|(_, value)| value.is_some());
    given.next();
    match given.next() {
        Some((field, _)) => Err(Refusal::invalid(*field, "give one of beforeSeq, afterSeq and aroundSeq").into()),
        None => Ok(()),
    }
});

/// Everything of a conversation that changed after a `rev`, in its present state.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    /// Which conversation.
    pub conversation_id: ConversationId,
    /// The last `rev` that the client holds.
    pub after_rev: i64,
    /// 1 to 100, 50 unless said.
    pub limit: Option<u32>,
}
command!(Changes = "messages.changes" -> view::Changes; |c| {
    check::number("afterRev", Some(c.after_rev))?;
    check::limit(c.limit).map(drop)
});

/// One message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetMessage {
    /// Which.
    pub message_id: MessageId,
}
command!(GetMessage = "messages.get" -> view::Message);

/// Changes the text of a message of one's own.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EditMessage {
    /// Which.
    pub message_id: MessageId,
    /// The new text, 1 byte to 8 KiB.
    pub text: String,
}
command!(EditMessage = "messages.edit" -> view::Message; |c| check::text("text", &c.text, 1, check::TEXT_BYTES));

/// Deletes a message for everyone: one's own, or any as an admin. A tombstone remains.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteMessage {
    /// Which.
    pub message_id: MessageId,
}
command!(DeleteMessage = "messages.delete" -> view::Message);

/// Reacts with one emoji; the same one again changes nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddReaction {
    /// To which message.
    pub message_id: MessageId,
    /// One emoji.
    pub emoji: String,
}
command!(AddReaction = "messages.addReaction" -> view::Message; |c| check::emoji(&c.emoji));

/// Takes a reaction back; what is not there changes nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoveReaction {
    /// From which message.
    pub message_id: MessageId,
    /// The emoji.
    pub emoji: String,
}
command!(RemoveReaction = "messages.removeReaction" -> view::Message; |c| check::emoji(&c.emoji));

/// Everything up to `seq` has been read. Only ever raises the mark.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkRead {
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// The last message read.
    pub seq: i64,
}
command!(MarkRead = "messages.markRead" -> view::Mine; |c| check::number("seq", Some(c.seq)).map(drop));

/// Everything up to `seq` has arrived. Only ever raises the mark; not kept above 100 members.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MarkDelivered {
    /// In which conversation.
    pub conversation_id: ConversationId,
    /// The last message that arrived.
    pub seq: i64,
}
command!(MarkDelivered = "messages.markDelivered" -> view::Mine; |c| check::number("seq", Some(c.seq)).map(drop));

/// The caller is typing, or no longer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Typing {
    /// Where.
    pub conversation_id: ConversationId,
    /// `false` when they stopped; `true` lasts 6 seconds unless said again.
    #[serde(default = "Typing::on")]
    pub typing: bool,
}
command!(Typing = "messages.typing" -> (), DOORS: Doors::Sockets);

impl Typing {
    fn on() -> bool {
        true
    }
}

// --- presence

/// How the caller is shown while connected.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SetPresence {
    /// `online`, `away` or `busy`.
    pub status: view::Status,
}
command!(SetPresence = "presence.set" -> view::Presence; |c| match c.status {
    view::Status::Offline => Err(Refusal::invalid("status", "must be online, away or busy").into()),
    _ => Ok(()),
});

/// Who of these is there; whom the caller shares no conversation with is left out.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetPresence {
    /// 1 to 500 users.
    pub user_ids: Vec<UserId>,
}
command!(GetPresence = "presence.get" -> view::Presences; |c| check::count("userIds", c.user_ids.len(), 1, 500));

/// As `get`, and from now on each change is told to this socket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WatchPresence {
    /// 1 to 500 users; at most 500 watched by one socket.
    pub user_ids: Vec<UserId>,
}
command!(WatchPresence = "presence.watch" -> view::Presences, DOORS: Doors::Sockets;
    |c| check::count("userIds", c.user_ids.len(), 1, 500));

/// No longer tell this socket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnwatchPresence {
    /// Whom; all when absent.
    pub user_ids: Option<Vec<UserId>>,
}
command!(UnwatchPresence = "presence.unwatch" -> (), DOORS: Doors::Sockets);

/// The first frame of a socket.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// An access token, read only if the handshake carried none.
    pub token: Option<String>,
    /// Stable on that device.
    pub device_id: Option<String>,
    /// What speaks.
    pub client: Option<ClientInfo>,
    /// The last `userRev` that the client holds.
    pub user_rev: Option<i64>,
    /// What the client holds: pairs of a conversation's id and its last `rev`.
    pub known: Option<Vec<(ConversationId, i64)>>,
    /// `ping`: WebSocket pings instead of heartbeat frames, for generic tools.
    pub heartbeat: Option<HeartbeatKind>,
}

/// How a socket's liveness is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeartbeatKind {
    /// WebSocket pings.
    Ping,
}

/// A client's software.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientInfo {
    /// Its name.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
}
