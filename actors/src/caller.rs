//! Who calls, and the one way from a socket to what serves a command.
//! Never checks anything: access is enforced by the dispatch.

use crate::hub::Socket;
use crate::protocol::{Door, ErrorCode, Outcome};
use entities::{SessionId, Timestamp, UserId};
use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// Somebody who has signed in, as their access token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Who.
    pub user: UserId,
    /// By which sign-in.
    pub session: SessionId,
    /// When the token ends.
    pub expires_at: Timestamp,
}

/// Who calls, by which door and from where.
#[derive(Clone)]
pub struct Caller {
    /// Absent for those who have not signed in.
    pub identity: Option<Identity>,
    /// Where the command came in.
    pub door: Door,
    /// The client's address, as far as it is known.
    pub address: Option<IpAddr>,
    /// What calls, as its `User-Agent` says, cut to 200 bytes.
    pub user_agent: Option<Rc<str>>,
    /// The languages that they would like to be written to in, the dearest first and with commas between; known only
    /// where that matters.
    pub languages: Option<Rc<str>>,
    /// Names the request in the log.
    pub request_id: Rc<str>,
    /// The socket, where the door is one.
    pub socket: Option<Rc<Socket>>,
}

impl Caller {
    /// Whoever has signed in, or `auth.unauthenticated`.
    pub fn identity(&self) -> Outcome<Identity> {
        self.identity.ok_or_else(|| ErrorCode::AuthUnauthenticated.into())
    }

    /// The user who has signed in, or `auth.unauthenticated`.
    pub fn user(&self) -> Outcome<UserId> {
        self.identity().map(|identity| identity.user)
    }

    /// The socket, or `request.wrong_door`.
    pub fn socket(&self) -> Outcome<&Rc<Socket>> {
        self.socket.as_ref().ok_or_else(|| ErrorCode::RequestWrongDoor.into())
    }
}

/// What a session needs of the node's slices, which stand above this crate.
pub trait Dispatch {
    /// Serves the command `name` and gives its reply as JSON.
    fn call(&self, caller: Caller, name: &str, data: &RawValue) -> LocalBoxFuture<'static, Outcome<Box<RawValue>>>;

    /// The session itself has refused something: it is counted like any other refusal.
    fn refused(&self, door: Door, code: ErrorCode);

    /// The session has served the command `name` itself, as it does `auth.renew`: it is counted like any other.
    fn served(&self, name: &'static str, door: Door, elapsed: Duration, refused: Option<ErrorCode>);

    /// Who a token says is there; the token alone, not whether its session still stands.
    fn authenticate(&self, token: &str) -> Outcome<Identity>;
}
