//! One socket's incoming half: its hello, its commands, its heartbeat, and what ends it.
//! Never what goes out: frames pass from the hub straight into the socket's queue.

mod heartbeat;
mod hello;
mod marks;

use crate::caller::{Caller, Dispatch, Identity};
use crate::clock::Clock;
use crate::conversation::Conversations;
use crate::entry::Entries;
use crate::greeter::Greeter;
use crate::hub::{Hub, Notice, Socket};
use crate::limits::Limits;
use crate::outbox::CloseCode;
use crate::presence::Presences;
use crate::protocol::command::{Command as _, MarkDelivered, MarkRead, Renew};
use crate::protocol::event::{self, Event};
use crate::protocol::view::Head;
use crate::protocol::{Door, Error, ErrorCode, Outcome, Refusal};
use crate::sockets::{Place, Sockets};
use actix::prelude::*;
use bytes::Bytes;
use entities::{ConversationId, Timestamp};
use futures_util::Stream;
use heartbeat::Beat;
use marks::Marks;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Commands refused for their rate, one after another, before the socket is closed.
const PATIENCE: u32 = 200;

/// What came from the client.
pub enum Incoming {
    /// A whole text message.
    Text(Bytes),
    /// A pong, or a ping that was answered.
    Alive,
    /// The client, or the protocol, ends it.
    End(CloseCode),
}

/// What all sessions of a thread share.
pub struct SessionDeps {
    /// The thread's sockets.
    pub hub: Rc<Hub>,
    /// The way to the commands.
    pub dispatch: Rc<dyn Dispatch>,
    /// The way to the rows, for hellos.
    pub greeter: Greeter,
    /// The listeners.
    pub entries: Entries,
    /// Who is there.
    pub presences: Presences,
    /// Conversations, to show one that was joined.
    pub conversations: Conversations,
    /// Which sockets a user has.
    pub sockets: Sockets,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Bounds.
    pub limits: Arc<Limits>,
}

/// How a socket came.
pub struct Handshake {
    /// Which socket it is.
    pub door: Door,
    /// What its token says, if the handshake carried one.
    pub identity: Option<Identity>,
    /// Where it comes from.
    pub address: Option<IpAddr>,
    /// Held until the hello has come.
    pub permit: Option<Box<dyn std::any::Any>>,
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    id: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    cmd: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The hello has not come.
    Silent,
    /// It is being answered.
    Joining,
    /// Commands are taken.
    Ready,
}

/// The actor of one socket.
pub struct SessionActor {
    deps: Rc<SessionDeps>,
    socket: Rc<Socket>,
    door: Door,
    identity: Option<Identity>,
    address: Option<IpAddr>,
    permit: Option<Box<dyn std::any::Any>>,
    place: Option<Place>,
    stage: Stage,
    pings: bool,
    in_flight: usize,
    tokens: f64,
    refilled_at: Timestamp,
    refused: u32,
    beat: Option<Beat>,
    alive: bool,
    marks: Marks,
    notices: Option<mpsc::UnboundedReceiver<Notice>>,
    counted: bool,
    /// Heads that did not fit into `ready`, with what of those conversations the user may see.
    heads: Vec<(Head, i64)>,
    /// Conversations that are being joined, and whether to look again afterwards.
    joining: HashMap<ConversationId, bool>,
    /// The node is going away: what is under way is finished, nothing new begins.
    draining: bool,
}

impl SessionActor {
    /// Starts the session of a socket on this thread; `incoming` is what the client sends.
    pub fn begin(
        deps: Rc<SessionDeps>,
        handshake: Handshake,
        incoming: impl FnOnce(Rc<Socket>) -> Box<dyn Stream<Item = Vec<Incoming>> + Unpin>,
    ) -> Rc<Socket> {
        let (sender, notices) = mpsc::unbounded_channel();
        let socket = deps.hub.socket(deps.limits.queue_bytes, sender);
        let stream = incoming(socket.clone());
        let returned = socket.clone();
        SessionActor::create(move |context| {
            context.add_stream(stream);
            SessionActor {
                tokens: f64::from(deps.limits.command_burst),
                refilled_at: deps.clock.now(),
                deps,
                socket,
                door: handshake.door,
                identity: handshake.identity,
                address: handshake.address,
                permit: handshake.permit,
                place: None,
                stage: Stage::Silent,
                pings: false,
                in_flight: 0,
                refused: 0,
                beat: None,
                alive: true,
                marks: Marks::default(),
                notices: Some(notices),
                counted: false,
                heads: Vec::new(),
                joining: HashMap::new(),
                draining: false,
            }
        });
        returned
    }
}

impl Actor for SessionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if let Some(notices) = self.notices.take() {
            context.add_stream(UnboundedReceiverStream::new(notices));
        }
        let wait = self.deps.clock.sleep(self.deps.limits.hello_within);
        context.spawn(wait.into_actor(self).map(|(), session, context| {
            if session.stage == Stage::Silent {
                session.close(CloseCode::MalformedHello, context);
            }
        }));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.socket.detach_all();
        self.socket.outbox.close(CloseCode::Normal);
        if self.counted {
            self.deps.entries.metrics().sockets.dec();
        }
        if let (Some(identity), true) = (self.identity, self.counted) {
            let presences = self.deps.presences.clone();
            actix_rt::spawn(async move { presences.closed(identity.user, identity.session).await });
        }
    }
}

impl StreamHandler<Vec<Incoming>> for SessionActor {
    fn handle(&mut self, messages: Vec<Incoming>, context: &mut Self::Context) {
        for incoming in messages {
            if self.socket.outbox.closed().is_some() {
                return;
            }
            match incoming {
                Incoming::Text(text) => self.text(&text, context),
                Incoming::Alive => self.alive = true,
                Incoming::End(code) => self.close(code, context),
            }
        }
    }

    /// The connection has ended.
    fn finished(&mut self, context: &mut Self::Context) {
        context.stop();
    }
}

impl StreamHandler<Notice> for SessionActor {
    fn handle(&mut self, notice: Notice, context: &mut Self::Context) {
        match notice {
            Notice::Join { conversation, user_rev } => {
                self.join_one(conversation, Some(user_rev), context);
                self.review_watched(false, context);
            }
            Notice::Emptied => {
                self.push_hints();
                self.push_heads(context);
            }
            Notice::Left(conversation) => {
                // Removed and added again, the hints of which may have come in any order: the rows tell.
                self.join_one(conversation, None, context);
                self.review_watched(true, context);
            }
            Notice::BeatOut => self.await_answer(context),
            Notice::Revoked => {
                if let Some(session_id) = self.socket.session.get() {
                    self.push(&Event::new("session.revoked", &event::SessionRevoked { session_id }));
                }
                self.close(CloseCode::SessionRevoked, context);
            }
            Notice::Drain { reconnect_after_ms } => {
                self.push(&Event::new("drain", &event::Drain { reconnect_after_ms }));
                self.draining = true;
                self.close_when_drained(context);
            }
        }
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl SessionActor {
    fn push<T: serde::Serialize>(&self, event: &Event<'_, T>) {
        self.socket.outbox.push(event.frame(), 0);
    }

    fn close(&mut self, code: CloseCode, _: &mut Context<Self>) {
        // The stream of the client ends with the connection, and the actor with it.
        self.socket.outbox.close(code);
    }

    fn caller(&self) -> Caller {
        let request_id = Rc::from(self.deps.clock.uuid().simple().to_string());
        Caller {
            identity: self.identity,
            door: self.door,
            address: self.address,
            // Nobody signs in at a socket.
            user_agent: None,
            languages: None,
            request_id,
            socket: Some(self.socket.clone()),
        }
    }

    fn text(&mut self, text: &[u8], context: &mut Context<Self>) {
        let most =
            if self.stage == Stage::Silent { self.deps.limits.hello_bytes } else { self.deps.limits.frame_bytes };
        if text.len() > most {
            return self.close(CloseCode::FrameTooLarge, context);
        }
        if std::str::from_utf8(text).is_err() {
            self.refuse_frame(None, "The frame is not UTF-8.");
            return self.close(CloseCode::NotUtf8, context);
        }
        let frame = serde_json::from_slice::<Frame>(text);
        match (self.stage, frame) {
            (Stage::Silent, Ok(frame)) if frame.cmd == "hello" => self.hello(frame.data, context),
            (Stage::Silent, _) => self.close(CloseCode::MalformedHello, context),
            (_, Err(error)) => {
                let id = serde_json::from_slice::<serde_json::Value>(text)
                    .ok()
                    .and_then(|value| value.get("id")?.as_str().map(str::to_owned));
                self.refuse_frame(id.as_deref(), format!("A frame is {{\"id\", \"cmd\", \"data\"}}: {error}."));
            }
            (_, Ok(frame)) => self.command(frame, context),
        }
    }

    fn command(&mut self, frame: Frame<'_>, context: &mut Context<Self>) {
        let id = frame.id.as_deref();
        if frame.cmd == "heartbeat" {
            return self.heartbeat_answered(frame.data, context);
        }
        let caller = self.caller();
        if let Err(error) = self.admit(id, context) {
            self.deps.dispatch.refused(self.door, error.code());
            return self.answer(id, Err(error), &caller.request_id);
        }
        let data = frame.data.unwrap_or(RawValue::NULL);
        match &*frame.cmd {
            MarkRead::NAME | MarkDelivered::NAME if self.door != Door::CallSocket => {
                return self.mark(id, &frame.cmd, data, context);
            }
            Renew::NAME => return self.renew(id, data, &caller, context),
            _ => {}
        }
        self.in_flight += 1;
        let id = id.map(str::to_owned);
        let request_id = caller.request_id.clone();
        let mut served = self.deps.dispatch.call(caller, &frame.cmd, data);
        // The first step at once, since the context does not promise to poll in the order of spawning:
        // what a socket sends is queued in a room in the order in which it came.
        let first = served.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        if let std::task::Poll::Ready(outcome) = first {
            self.answer(id.as_deref(), outcome, &request_id);
            return self.served(context);
        }
        context.spawn(served.into_actor(self).map(move |outcome, session, context| {
            session.answer(id.as_deref(), outcome, &request_id);
            session.served(context);
        }));
    }

    fn served(&mut self, context: &mut Context<Self>) {
        self.in_flight -= 1;
        self.close_when_drained(context);
    }

    fn close_when_drained(&mut self, context: &mut Context<Self>) {
        if self.draining && self.in_flight == 0 {
            self.close(CloseCode::Draining, context);
        }
    }

    fn answer(&self, id: Option<&str>, outcome: Outcome<Box<RawValue>>, request_id: &str) {
        let frame = match (id, outcome) {
            (Some(id), Ok(reply)) => event::ok_frame(id, &reply),
            (Some(id), Err(error)) => event::error_frame(Some(id), &error, request_id),
            // Without an id nobody waits for it.
            (None, _) => return,
        };
        self.socket.outbox.push(frame, 0);
    }

    /// Refuses what could not be read as a command.
    fn refuse_frame(&self, id: Option<&str>, message: impl Into<std::borrow::Cow<'static, str>>) {
        let refusal = Refusal::new(ErrorCode::RequestMalformed).saying(message);
        self.deps.dispatch.refused(self.door, refusal.code);
        let request_id = self.caller().request_id;
        self.socket.outbox.push(event::error_frame(id, &refusal.into(), &request_id), 0);
    }

    /// The socket's own limits: how often, and how much at once.
    fn admit(&mut self, id: Option<&str>, context: &mut Context<Self>) -> Outcome<()> {
        if id.is_some_and(|id| id.is_empty() || id.len() > 64) {
            return Err(Refusal::invalid("id", "must be 1 to 64 bytes").into());
        }
        if self.draining {
            return Err(ErrorCode::ServerUnavailable.into());
        }
        if self.stage != Stage::Ready {
            return Err(Refusal::new(ErrorCode::RequestTooManyInFlight).saying("Wait for ready.").into());
        }
        let limits = &self.deps.limits;
        let now = self.deps.clock.now();
        let rate = f64::from(limits.commands_per_sec);
        self.tokens =
            (self.tokens + now.since(self.refilled_at).as_secs_f64() * rate).min(f64::from(limits.command_burst));
        self.refilled_at = now;
        if self.tokens < 1.0 {
            self.refused += 1;
            if self.refused >= PATIENCE {
                self.close(CloseCode::TooManyCommands, context);
            }
            let wait = Duration::from_secs_f64((1.0 - self.tokens) / rate);
            return Err(Refusal::new(ErrorCode::RequestRateLimited).after(wait).into());
        }
        self.tokens -= 1.0;
        self.refused = 0;
        if self.in_flight >= limits.in_flight {
            return Err(Refusal::new(ErrorCode::RequestTooManyInFlight).after(Duration::from_millis(100)).into());
        }
        Ok(())
    }

    /// A new access token of the same user and session lets the socket live on.
    fn renew(&mut self, id: Option<&str>, data: &RawValue, caller: &Caller, context: &mut Context<Self>) {
        let started = Instant::now();
        let renewed = self.renewed(data).and_then(|identity| {
            self.identity = Some(identity);
            self.watch_expiry(identity.expires_at, context);
            let reply = crate::protocol::view::Renewed { expires_at: identity.expires_at };
            serde_json::value::to_raw_value(&reply).map_err(|error| Error::Fault(crate::protocol::Fault::new(error)))
        });
        let refused = renewed.as_ref().err().map(Error::code);
        self.deps.dispatch.served(Renew::NAME, self.door, started.elapsed(), refused);
        self.answer(id, renewed, &caller.request_id);
    }

    fn renewed(&self, data: &RawValue) -> Outcome<Identity> {
        let renew: Renew =
            serde_json::from_str(data.get()).map_err(|_| Refusal::invalid("accessToken", "must be an access token"))?;
        let identity = self.deps.dispatch.authenticate(&renew.access_token)?;
        let own = self.identity.is_some_and(|own| own.user == identity.user && own.session == identity.session);
        if own {
            Ok(identity)
        } else {
            Err(Refusal::invalid("accessToken", "must be of the same user and session").into())
        }
    }

    fn watch_expiry(&self, expires_at: Timestamp, context: &mut Context<Self>) {
        let wait = self.deps.clock.sleep_until(expires_at);
        context.spawn(wait.into_actor(self).map(|(), session, context| {
            if session.identity.is_none_or(|identity| identity.expires_at <= session.deps.clock.now()) {
                session.close(CloseCode::NotAuthenticated, context);
            }
        }));
    }
}

impl Drop for SessionActor {
    fn drop(&mut self) {
        if self.socket.outbox.closed() == Some(CloseCode::TooSlow) {
            self.deps.entries.metrics().too_slow.inc();
            if let Some(session) = self.socket.session.get() {
                self.deps.sockets.was_slow(session, self.deps.clock.now());
            }
        }
    }
}
