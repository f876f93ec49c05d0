//! Commands by name, by whichever door: where REST has each, and the verbs of a story.
//! Never a check of the answer.

use super::answer::Answer;
use super::{ConversationId, MessageId, Node, Person, Socket, UserId};
use actix_web::http::Method;
use serde_json::{Map, Value, json};

/// A command's place in REST: method and path, with the fields that stand in the path.
const ROUTES: &[(&str, &str, &str)] = &[
    ("auth.sendOtp", "POST", "/auth/send-otp"),
    ("auth.verifyOtp", "POST", "/auth/verify-otp"),
    ("auth.refreshToken", "POST", "/auth/refresh"),
    ("auth.logout", "POST", "/auth/logout"),
    ("auth.oauthExchange", "POST", "/auth/oauth/exchange"),
    ("auth.oauthMobile", "POST", "/auth/oauth/mobile"),
    ("auth.linkedAccounts", "GET", "/auth/linked-accounts"),
    ("auth.linkAccount", "POST", "/auth/linked-accounts"),
    ("auth.unlinkAccount", "DELETE", "/auth/linked-accounts/{provider}"),
    ("auth.setup2fa", "POST", "/auth/2fa/setup"),
    ("auth.enable2fa", "POST", "/auth/2fa/enable"),
    ("auth.disable2fa", "POST", "/auth/2fa/disable"),
    ("auth.regenerateBackupCodes", "POST", "/auth/2fa/backup-codes"),
    ("auth.verify2fa", "POST", "/auth/2fa/verify"),
    ("auth.listSessions", "GET", "/auth/sessions"),
    ("auth.revokeSession", "DELETE", "/auth/sessions/{sessionId}"),
    ("auth.logoutAll", "POST", "/auth/logout-all"),
    ("auth.listEvents", "GET", "/auth/events"),
    ("auth.validate", "POST", "/auth/validate"),
    ("auth.changeEmail", "POST", "/auth/change-email"),
    ("auth.verifyEmail", "POST", "/auth/verify-email"),
    ("users.changePhone", "PUT", "/users/me/phone"),
    ("auth.register", "POST", "/auth/register"),
    ("auth.login", "POST", "/auth/login"),
    ("auth.changePassword", "PUT", "/auth/password"),
    ("auth.forgotPassword", "POST", "/auth/forgot-password"),
    ("auth.resetPassword", "POST", "/auth/reset-password"),
    ("auth.reauthenticate", "POST", "/auth/reauthenticate"),
    ("users.getProfile", "GET", "/users/{userId}"),
    ("users.updateProfile", "PATCH", "/users/{userId}"),
    ("users.search", "GET", "/users"),
    ("users.changes", "GET", "/users/me/changes"),
    ("users.exportData", "POST", "/users/me/exports"),
    ("users.listExports", "GET", "/users/me/exports"),
    ("users.cancelExport", "DELETE", "/users/me/exports/{exportId}"),
    ("users.deleteAccount", "POST", "/users/me/deletion"),
    ("users.cancelDeletion", "DELETE", "/users/me/deletion"),
    ("users.getSettings", "GET", "/users/me/settings"),
    ("users.updateSettings", "PATCH", "/users/me/settings"),
    ("users.getPrivacy", "GET", "/users/me/privacy"),
    ("users.updatePrivacy", "PATCH", "/users/me/privacy"),
    ("users.setStatus", "PUT", "/users/me/status"),
    ("users.getContacts", "GET", "/users/me/contacts"),
    ("users.addContact", "POST", "/users/me/contacts"),
    ("users.syncContacts", "POST", "/users/me/contacts/sync"),
    ("users.renameContact", "PATCH", "/users/me/contacts/{userId}"),
    ("users.removeContact", "DELETE", "/users/me/contacts/{userId}"),
    ("users.listDevices", "GET", "/users/me/devices"),
    ("users.registerDevice", "POST", "/users/me/devices"),
    ("users.renameDevice", "PATCH", "/users/me/devices/{deviceId}"),
    ("users.removeDevice", "DELETE", "/users/me/devices/{deviceId}"),
    ("users.updatePushToken", "PUT", "/users/me/devices/{deviceId}/push"),
    ("users.report", "POST", "/reports"),
    ("users.listReports", "GET", "/reports"),
    ("users.listBlocked", "GET", "/users/me/blocked"),
    ("users.block", "PUT", "/users/me/blocked/{userId}"),
    ("users.unblock", "DELETE", "/users/me/blocked/{userId}"),
    ("conversations.create", "POST", "/conversations"),
    ("conversations.getByUser", "GET", "/conversations"),
    ("conversations.get", "GET", "/conversations/{conversationId}"),
    ("conversations.update", "PATCH", "/conversations/{conversationId}"),
    ("conversations.updateMine", "PATCH", "/conversations/{conversationId}/mine"),
    ("conversations.accept", "POST", "/conversations/{conversationId}/accept"),
    ("conversations.decline", "POST", "/conversations/{conversationId}/decline"),
    ("conversations.leave", "POST", "/conversations/{conversationId}/leave"),
    ("conversations.transferOwnership", "POST", "/conversations/{conversationId}/owner"),
    ("conversations.listParticipants", "GET", "/conversations/{conversationId}/participants"),
    ("conversations.addParticipant", "POST", "/conversations/{conversationId}/participants"),
    ("conversations.setRole", "PATCH", "/conversations/{conversationId}/participants/{userId}"),
    ("conversations.removeParticipant", "DELETE", "/conversations/{conversationId}/participants/{userId}"),
    ("messages.send", "POST", "/conversations/{conversationId}/messages"),
    ("messages.getByConversation", "GET", "/conversations/{conversationId}/messages"),
    ("messages.changes", "GET", "/conversations/{conversationId}/changes"),
    ("messages.markRead", "POST", "/conversations/{conversationId}/read"),
    ("messages.markDelivered", "POST", "/conversations/{conversationId}/delivered"),
    ("messages.get", "GET", "/messages/{messageId}"),
    ("messages.edit", "PATCH", "/messages/{messageId}"),
    ("messages.delete", "DELETE", "/messages/{messageId}"),
    ("messages.addReaction", "PUT", "/messages/{messageId}/reactions/{emoji}"),
    ("messages.removeReaction", "DELETE", "/messages/{messageId}/reactions/{emoji}"),
    ("presence.get", "GET", "/presence"),
    ("presence.set", "PUT", "/presence"),
];

/// A request of REST.
pub struct Request {
    pub method: &'static str,
    /// Path and query, below `/api/v1`.
    pub path: String,
    pub body: Option<Value>,
}

impl Request {
    /// The request that says this command.
    pub fn of(command: &str, data: Value) -> Request {
        let (_, method, pattern) = ROUTES.iter().find(|(name, _, _)| *name == command).expect(command);
        let Value::Object(mut fields) = data else { panic!("{command} takes an object") };
        let mut path = String::new();
        for part in pattern.split('/').skip(1) {
            path.push('/');
            match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
                Some(field) => path.push_str(&encoded(&plain(&fields.remove(field).expect(field)))),
                None => path.push_str(part),
            }
        }
        if *method == "GET" {
            path.push_str(&query(&fields));
            return Request { method, path, body: None };
        }
        let bodiless = fields.is_empty()
            && (*method == "DELETE"
                || ["{emoji}", "leave", "accept", "decline", "/blocked/{userId}"]
                    .iter()
                    .any(|end| pattern.ends_with(end)));
        Request { method, path, body: (!bodiless).then_some(Value::Object(fields)) }
    }
}

fn query(fields: &Map<String, Value>) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encoded(&plain(value)))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Percent-encoded as a part of a path or a query.
pub fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Whoever can say commands: a person by REST, or one of their sockets.
pub trait Speaks {
    /// Says a command and awaits the answer.
    async fn calls(&self, command: &str, data: Value) -> Answer;

    async fn sends(&self, to: ConversationId, text: &str) -> Answer {
        self.sends_as(to, text, &fresh_key()).await
    }

    async fn sends_as(&self, to: ConversationId, text: &str, client_id: &str) -> Answer {
        self.calls("messages.send", json!({ "conversationId": to, "text": text, "clientId": client_id })).await
    }

    /// Sends what must go through; gives the message.
    async fn says_in(&self, to: ConversationId, text: &str) -> Value {
        self.sends(to, text).await.ok()["message"].clone()
    }

    async fn edits(&self, message: MessageId, text: &str) -> Answer {
        self.calls("messages.edit", json!({ "messageId": message, "text": text })).await
    }

    async fn deletes(&self, message: MessageId) -> Answer {
        self.calls("messages.delete", json!({ "messageId": message })).await
    }

    async fn reacts(&self, message: MessageId, emoji: &str) -> Answer {
        self.calls("messages.addReaction", json!({ "messageId": message, "emoji": emoji })).await
    }

    async fn takes_back(&self, message: MessageId, emoji: &str) -> Answer {
        self.calls("messages.removeReaction", json!({ "messageId": message, "emoji": emoji })).await
    }

    async fn reads(&self, conversation: ConversationId, seq: i64) -> Answer {
        self.calls("messages.markRead", json!({ "conversationId": conversation, "seq": seq })).await
    }

    async fn receives(&self, conversation: ConversationId, seq: i64) -> Answer {
        self.calls("messages.markDelivered", json!({ "conversationId": conversation, "seq": seq })).await
    }

    async fn looks_at(&self, message: MessageId) -> Answer {
        self.calls("messages.get", json!({ "messageId": message })).await
    }

    /// The cheapest thing that takes a sign-in.
    async fn opens_list(&self) -> Answer {
        self.calls("conversations.getByUser", json!({ "limit": 1 })).await
    }

    async fn opens(&self, conversation: ConversationId) -> Answer {
        self.calls("conversations.get", json!({ "conversationId": conversation })).await
    }

    async fn history(&self, conversation: ConversationId) -> Answer {
        self.calls("messages.getByConversation", json!({ "conversationId": conversation, "limit": 100 })).await
    }

    async fn changes(&self, conversation: ConversationId, after_rev: i64) -> Answer {
        let data = json!({ "conversationId": conversation, "afterRev": after_rev, "limit": 100 });
        self.calls("messages.changes", data).await
    }

    async fn own_changes(&self, after_user_rev: i64) -> Answer {
        self.calls("users.changes", json!({ "afterUserRev": after_user_rev, "limit": 100 })).await
    }

    /// Lets those of an audience see or do something.
    async fn lets(&self, subject: &str, audience: &str) {
        self.calls("users.updatePrivacy", json!({ subject: audience })).await.ok_with(200);
    }

    /// Puts somebody into their address book.
    async fn befriends(&self, whom: &Person) -> Answer {
        self.calls("users.addContact", json!({ "userId": whom.id })).await
    }

    async fn blocks(&self, whom: &Person) -> Answer {
        self.calls("users.block", json!({ "userId": whom.id })).await
    }

    async fn unblocks(&self, whom: &Person) -> Answer {
        self.calls("users.unblock", json!({ "userId": whom.id })).await
    }

    async fn adds(&self, whom: &[&Person], to: ConversationId) -> Answer {
        let ids: Vec<UserId> = whom.iter().map(|person| person.id).collect();
        self.calls("conversations.addParticipant", json!({ "conversationId": to, "userIds": ids })).await
    }

    async fn removes(&self, whom: &Person, from: ConversationId) -> Answer {
        self.calls("conversations.removeParticipant", json!({ "conversationId": from, "userId": whom.id })).await
    }

    async fn leaves(&self, conversation: ConversationId) -> Answer {
        self.calls("conversations.leave", json!({ "conversationId": conversation })).await
    }

    /// Takes up a request.
    async fn accepts(&self, request: ConversationId) -> Answer {
        self.calls("conversations.accept", json!({ "conversationId": request })).await
    }

    async fn declines(&self, request: ConversationId) -> Answer {
        self.calls("conversations.decline", json!({ "conversationId": request })).await
    }

    async fn makes(&self, whom: &Person, role: &str, within: ConversationId) -> Answer {
        let data = json!({ "conversationId": within, "userId": whom.id, "role": role });
        self.calls("conversations.setRole", data).await
    }

    async fn hands_over(&self, conversation: ConversationId, to: &Person) -> Answer {
        let data = json!({ "conversationId": conversation, "userId": to.id });
        self.calls("conversations.transferOwnership", data).await
    }

    async fn renames(&self, conversation: ConversationId, name: &str) -> Answer {
        self.calls("conversations.update", json!({ "conversationId": conversation, "name": name })).await
    }

    async fn creates(&self, kind: &str, with: &[&Person]) -> Answer {
        let ids: Vec<UserId> = with.iter().map(|person| person.id).collect();
        self.calls("conversations.create", json!({ "kind": kind, "participantIds": ids })).await
    }

    /// The private conversation with somebody.
    async fn meets(&self, whom: &Person) -> ConversationId {
        id_of(&self.creates("private", &[whom]).await.ok())
    }

    async fn creates_group(&self, name: &str, with: &[&Person]) -> ConversationId {
        let ids: Vec<UserId> = with.iter().map(|person| person.id).collect();
        let data = json!({ "kind": "group", "name": name, "participantIds": ids });
        id_of(&self.calls("conversations.create", data).await.ok())
    }
}

/// The id of a conversation, message or user.
#[track_caller]
pub fn id_of<T: std::str::FromStr<Err: std::fmt::Debug>>(view: &Value) -> T {
    view["id"].as_str().unwrap_or_else(|| panic!("no id: {view}")).parse().unwrap()
}

/// A `clientId` that nobody has used before.
pub fn fresh_key() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static GIVEN: AtomicU64 = AtomicU64::new(1);
    format!("fresh {}", GIVEN.fetch_add(1, Ordering::Relaxed))
}

/// What somebody at this address says who has not signed in, through a proxy that the node trusts.
pub async fn says(node: &Node, from: &str, path: &str, body: Value) -> Answer {
    let headers = [
        ("content-type", "application/json".to_owned()),
        // What stands to the left is what the client says of itself: anybody may write that.
        ("x-forwarded-for", format!("198.51.100.7, {from}")),
    ];
    node.requests(Method::POST, &format!("/api/v1/auth/{path}"), &headers, body.to_string()).await.answer()
}

/// A person at one of the doors.
pub enum Door {
    Rest(Person),
    Socket(Socket),
}

impl Speaks for Door {
    async fn calls(&self, command: &str, data: Value) -> Answer {
        match self {
            Door::Rest(person) => person.calls(command, data).await,
            Door::Socket(socket) => socket.calls(command, data).await,
        }
    }
}

impl Door {
    /// For a message of a failing story.
    pub fn name(&self) -> &'static str {
        match self {
            Door::Rest(_) => "REST",
            Door::Socket(_) => "socket",
        }
    }
}
