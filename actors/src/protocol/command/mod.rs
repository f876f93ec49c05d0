//! Every command: its name, request, reply, who may call it and at which doors.
//! Never how it is served: that is one function behind the dispatch.

pub use auth::*;
pub use contact_points::*;
pub use contacts::*;
pub use conversations::*;
pub use devices::*;
pub use hello::*;
pub use leaving::*;
pub use messages::*;
pub use oauth::*;
pub use password::*;
pub use presence::*;
pub use reports::*;
pub use second_factor::*;
pub use sessions::*;
pub use settings::*;
pub use users::*;

use super::error::Outcome;
use serde::{Deserialize, Serialize};

/// Who may call a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// Anybody who has signed in.
    User,
    /// Anybody who has signed in, or shown again who they are, within the last `auth.fresh` (5 minutes unless set).
    Fresh,
    /// Those who have the role of an operator.
    Operator,
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

mod auth;
mod contact_points;
mod contacts;
mod conversations;
mod devices;
mod hello;
mod leaving;
mod messages;
mod oauth;
mod password;
mod presence;
mod reports;
mod second_factor;
mod sessions;
mod settings;
mod users;
