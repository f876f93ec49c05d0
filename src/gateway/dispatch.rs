//! The one wrapper around every command, whatever its door: who may call it where, its values, its metrics.
//! Never a rule of a domain: those stand behind `Run`. How often one may call is each door's to count.

use crate::app::App;
use crate::auth::roles;
use actors::caller::{Caller, Dispatch, Identity};
use actors::protocol::command::*;
use actors::protocol::json::read;
use actors::protocol::{Access, Command, Door, Doors, Error, ErrorCode, Fault, Outcome};
use futures_util::future::LocalBoxFuture;
use serde_json::value::RawValue;
use std::any::TypeId;
use std::rc::Rc;
use std::time::{Duration, Instant};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Object, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// What serves a command.
#[allow(async_fn_in_trait, reason = "handlers run on one thread; nobody names the future")]
pub trait Run: Command {
    /// Serves it. The wrapper has checked access, door and values.
    async fn run(self, app: &App, caller: &Caller) -> Outcome<Self::Reply>;
}

impl App {
    /// Serves a command that a door has read.
    pub async fn dispatch<C: Run>(&self, caller: &Caller, command: C) -> Outcome<C::Reply> {
        self.wrapped(caller, Ok(command)).await
    }

    async fn wrapped<C: Run>(&self, caller: &Caller, command: Outcome<C>) -> Outcome<C::Reply> {
        let started = Instant::now();
        let outcome = match command {
            Ok(command) => self.serve(caller, command).await,
            Err(error) => Err(error),
        };
        let refused = outcome.as_ref().err().map(Error::code);
        self.metrics.command(C::NAME, caller.door, started.elapsed(), refused);
        if let Err(Error::Fault(fault)) = &outcome {
            tracing::error!(command = C::NAME, request_id = %caller.request_id, error = %fault, "command failed");
        }
        outcome
    }

    async fn serve<C: Run>(&self, caller: &Caller, command: C) -> Outcome<C::Reply> {
        if !C::DOORS.serve(C::NAME, caller.door) {
            return Err(ErrorCode::RequestWrongDoor.into());
        }
        match C::ACCESS {
            Access::Public => {}
            // A socket closes when its session ends, so that nothing is asked here: what it sends is
            // queued in the rooms without a wait, and so in the order in which it came.
            Access::User if caller.door.is_socket() => drop(caller.identity()?),
            Access::User => self.sessions.check(caller.identity()?).await?,
            Access::Fresh => self.sessions.check_fresh(caller.identity()?).await?,
            Access::Operator => {
                let identity = caller.identity()?;
                self.sessions.check(identity).await?;
                roles::demand(self.db.read(), identity.user, roles::OPERATOR).await?;
            }
        }
        command.check()?;
        command.run(self, caller).await
    }
}

/// One command, as the sockets find it by name.
pub struct Served {
    /// `domain.name`.
    pub name: &'static str,
    /// Who may call it.
    pub access: Access,
    /// Where it is served.
    pub doors: Doors,
    /// What it asks and what it answers, for the document.
    pub shapes: fn() -> Shapes,
    call: fn(Rc<App>, Caller, &RawValue) -> Answer,
}

/// A command's reply as JSON, once it is there.
type Answer = LocalBoxFuture<'static, Outcome<Box<RawValue>>>;

/// A command's request and reply as JSON schemas, and the schemas that these refer to by name.
pub struct Shapes {
    /// The request.
    pub request: RefOr<Schema>,
    /// The reply.
    pub reply: RefOr<Schema>,
    /// By name, what both refer to.
    pub named: Vec<(String, RefOr<Schema>)>,
}

impl Served {
    const fn of<C: Run + ToSchema>() -> Served
    where
        C::Reply: ToSchema,
    {
        Served { name: C::NAME, access: C::ACCESS, doors: C::DOORS, shapes: shapes::<C>, call: call::<C> }
    }
}

fn shapes<C: Run + ToSchema>() -> Shapes
where
    C::Reply: ToSchema,
{
    let mut named = Vec::new();
    C::schemas(&mut named);
    C::Reply::schemas(&mut named);
    let nothing = TypeId::of::<C::Reply>() == TypeId::of::<()>();
    let reply = if nothing { Object::with_type(Type::Null).into() } else { C::Reply::schema() };
    Shapes { request: C::schema(), reply, named }
}

fn call<C: Run>(app: Rc<App>, caller: Caller, data: &RawValue) -> Answer {
    // Read before the future is made: the frame's bytes are not kept. At the wrong door values do not matter.
    let command = match C::DOORS.serve(C::NAME, caller.door) {
        true => read::<C>(data.get().as_bytes()),
        false => Err(ErrorCode::RequestWrongDoor.into()),
    };
    Box::pin(async move {
        let reply = app.wrapped(&caller, command).await?;
        serde_json::value::to_raw_value(&reply).map_err(|e| Error::Fault(Fault::new(e)))
    })
}

/// Every command of this node, once.
pub const COMMANDS: &[Served] = &[
    Served::of::<SendOtp>(),
    Served::of::<VerifyOtp>(),
    Served::of::<RefreshToken>(),
    Served::of::<Renew>(),
    Served::of::<Logout>(),
    Served::of::<Setup2fa>(),
    Served::of::<Enable2fa>(),
    Served::of::<Disable2fa>(),
    Served::of::<RegenerateBackupCodes>(),
    Served::of::<Verify2fa>(),
    Served::of::<ListSessions>(),
    Served::of::<RevokeSession>(),
    Served::of::<LogoutAll>(),
    Served::of::<ListEvents>(),
    Served::of::<Validate>(),
    Served::of::<OauthStart>(),
    Served::of::<OauthCallback>(),
    Served::of::<OauthExchange>(),
    Served::of::<OauthMobile>(),
    Served::of::<LinkAccount>(),
    Served::of::<LinkedAccounts>(),
    Served::of::<UnlinkAccount>(),
    Served::of::<ChangeEmail>(),
    Served::of::<VerifyEmail>(),
    Served::of::<ChangePhone>(),
    Served::of::<Register>(),
    Served::of::<Login>(),
    Served::of::<ChangePassword>(),
    Served::of::<ForgotPassword>(),
    Served::of::<ResetPassword>(),
    Served::of::<Reauthenticate>(),
    Served::of::<GetProfile>(),
    Served::of::<UpdateProfile>(),
    Served::of::<SearchUsers>(),
    Served::of::<UserChanges>(),
    Served::of::<AddContact>(),
    Served::of::<RemoveContact>(),
    Served::of::<RenameContact>(),
    Served::of::<GetContacts>(),
    Served::of::<SyncContacts>(),
    Served::of::<Block>(),
    Served::of::<Unblock>(),
    Served::of::<ListBlocked>(),
    Served::of::<GetSettings>(),
    Served::of::<UpdateSettings>(),
    Served::of::<GetPrivacy>(),
    Served::of::<UpdatePrivacy>(),
    Served::of::<SetStatus>(),
    Served::of::<RegisterDevice>(),
    Served::of::<ListDevices>(),
    Served::of::<RenameDevice>(),
    Served::of::<UpdatePushToken>(),
    Served::of::<RemoveDevice>(),
    Served::of::<Report>(),
    Served::of::<ListReports>(),
    Served::of::<ExportData>(),
    Served::of::<ListExports>(),
    Served::of::<CancelExport>(),
    Served::of::<DeleteAccount>(),
    Served::of::<CancelDeletion>(),
    Served::of::<CreateConversation>(),
    Served::of::<GetConversation>(),
    Served::of::<ConversationsByUser>(),
    Served::of::<ListParticipants>(),
    Served::of::<AddParticipant>(),
    Served::of::<RemoveParticipant>(),
    Served::of::<LeaveConversation>(),
    Served::of::<SetRole>(),
    Served::of::<TransferOwnership>(),
    Served::of::<UpdateConversation>(),
    Served::of::<UpdateMine>(),
    Served::of::<AcceptRequest>(),
    Served::of::<DeclineRequest>(),
    Served::of::<SendMessage>(),
    Served::of::<MessagesByConversation>(),
    Served::of::<Changes>(),
    Served::of::<GetMessage>(),
    Served::of::<EditMessage>(),
    Served::of::<DeleteMessage>(),
    Served::of::<AddReaction>(),
    Served::of::<RemoveReaction>(),
    Served::of::<MarkRead>(),
    Served::of::<MarkDelivered>(),
    Served::of::<Typing>(),
    Served::of::<SetPresence>(),
    Served::of::<GetPresence>(),
    Served::of::<WatchPresence>(),
    Served::of::<UnwatchPresence>(),
];

/// The sockets' way to the commands.
pub struct ByName(pub Rc<App>);

impl Dispatch for ByName {
    fn call(&self, caller: Caller, name: &str, data: &RawValue) -> LocalBoxFuture<'static, Outcome<Box<RawValue>>> {
        // Some ninety names: a scan that compares lengths first beats a map.
        match COMMANDS.iter().find(|served| served.name == name) {
            Some(served) => (served.call)(self.0.clone(), caller, data),
            None => {
                let unknown = ErrorCode::RequestUnknownCommand;
                self.0.metrics.refused(caller.door, unknown);
                Box::pin(std::future::ready(Err(unknown.into())))
            }
        }
    }

    fn refused(&self, door: Door, code: ErrorCode) {
        self.0.metrics.refused(door, code);
    }

    fn served(&self, name: &'static str, door: Door, elapsed: Duration, refused: Option<ErrorCode>) {
        self.0.metrics.command(name, door, elapsed, refused);
    }

    fn authenticate(&self, token: &str) -> Outcome<Identity> {
        self.0.auth.tokens.verify(token, self.0.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_of_the_protocol_is_served_once() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/actors/src/protocol/command");
        let files =
            std::fs::read_dir(folder).unwrap().map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let source: String = files.collect();
        let declared = source.lines().filter_map(|line| line.strip_prefix("command!("));
        let mut declared: Vec<_> = declared.filter_map(|line| line.split('"').nth(1)).collect();
        let mut served: Vec<_> = COMMANDS.iter().map(|served| served.name).collect();
        declared.sort_unstable();
        served.sort_unstable();
        assert_eq!(declared, served);
    }
}
