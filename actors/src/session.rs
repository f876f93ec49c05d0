//! One socket's incoming half: its hello, its commands, its heartbeat, and what ends it.
//! Never what goes out: frames pass from the hub straight into the socket's queue.

use crate::caller::{Caller, Dispatch, Identity};
use crate::clock::Clock;
use crate::cluster::Topic;
use crate::conversation::Conversations;
use crate::entry::Entries;
use crate::greeter::{Arrival, Greeter, Known, Snapshot};
use crate::hub::{Hub, Notice, Socket};
use crate::limits::Limits;
use crate::outbox::CloseCode;
use crate::presence::Presences;
use crate::protocol::command::{Command as _, GetConversation, Hello, MarkDelivered, MarkRead, Renew};
use crate::protocol::event::{self, Event, SocketLimits};
use crate::protocol::view::Head;
use crate::protocol::{Door, Error, ErrorCode, Outcome, Refusal, json};
use crate::sockets::{Place, Sockets};
use actix::prelude::*;
use bytes::Bytes;
use entities::{ConversationId, Timestamp, UserId};
use futures_util::Stream;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

/// Heads in one frame.
const HEADS: usize = 200;
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

#[derive(Deserialize)]
struct HeartbeatAnswer {
    nonce: String,
    received: u64,
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

/// A heartbeat under way.
struct Beat {
    nonce: String,
    delivered: u64,
    /// Where the queue ended behind it.
    mark: u64,
    /// What was drained when this was looked at last.
    drained: u64,
}

/// Marks that wait for their second to be over, by conversation.
#[derive(Default)]
struct Marks {
    waiting: HashMap<ConversationId, Mark>,
    sent_at: HashMap<ConversationId, Timestamp>,
}

#[derive(Default)]
struct Mark {
    read: Option<i64>,
    delivered: Option<i64>,
    answers: Vec<(Option<String>, bool)>,
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
            Notice::Join { conversation, user_rev } => self.join_one(conversation, Some(user_rev), context),
            Notice::Emptied => {
                self.push_hints();
                self.push_heads(context);
            }
            Notice::Left(conversation) => {
                // Removed and added again, the hints of which may have come in any order: the rows tell.
                self.join_one(conversation, None, context);
                self.review_watched(context);
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

    // --- hello

    fn hello(&mut self, data: Option<&RawValue>, context: &mut Context<Self>) {
        let hello = match data.map(|data| serde_json::from_str::<Hello>(data.get())).transpose() {
            Ok(hello) => hello,
            Err(_) => return self.close(CloseCode::MalformedHello, context),
        };
        self.permit = None;
        let token = hello.as_ref().and_then(|hello| hello.token.as_deref());
        if self.identity.is_none() {
            self.identity = token.and_then(|token| self.deps.dispatch.authenticate(token).ok());
        }
        let Some(identity) = self.identity else { return self.close(CloseCode::NotAuthenticated, context) };
        let Some(place) = self.deps.sockets.take(identity.user, self.deps.limits.sockets_per_user) else {
            return self.close(CloseCode::TooManySockets, context);
        };
        self.place = Some(place);
        self.stage = Stage::Joining;
        self.socket.user.set(Some(identity.user));
        self.socket.session.set(Some(identity.session));
        self.pings = hello.as_ref().is_some_and(|hello| hello.heartbeat.is_some());
        let known = hello.map_or_else(Known::default, |hello| Known {
            revs: hello.known.map(|known| known.into_iter().collect()),
            user_rev: hello.user_rev.unwrap_or(-1),
        });
        if self.deps.sockets.is_slow(identity.session, self.deps.clock.now()) {
            self.socket.pull();
        }
        self.watch_expiry(identity.expires_at, context);
        let (deps, socket) = (self.deps.clone(), self.socket.clone());
        let joined = async move { join(&deps, &socket, identity, known).await };
        context.spawn(joined.into_actor(self).map(move |outcome, session, context| match outcome {
            Ok((arrival, snapshot)) => session.ready(identity, &arrival, snapshot, context),
            Err(error) if error.code() == ErrorCode::AuthSessionRevoked => {
                session.close(CloseCode::SessionRevoked, context)
            }
            // Something of ours is away: come back and try again.
            Err(_) => session.close(CloseCode::Draining, context),
        }));
    }

    fn ready(&mut self, identity: Identity, arrival: &Arrival, snapshot: Snapshot, context: &mut Context<Self>) {
        let limits = &self.deps.limits;
        let (first, rest) = snapshot.heads.split_at(snapshot.heads.len().min(HEADS));
        let later: HashMap<ConversationId, &Head> = rest.iter().map(|head| (head.conversation_id, head)).collect();
        let later = snapshot.revs.iter().filter_map(|(id, _, from)| Some(((*later.get(id)?).clone(), *from)));
        self.heads = later.collect();
        let ready = event::Ready {
            session_id: identity.session,
            user: &arrival.user,
            user_rev: arrival.user_rev,
            heads: first,
            more: !rest.is_empty(),
            gone: &snapshot.gone,
            heartbeat_secs: limits.heartbeat.as_secs(),
            limits: SocketLimits {
                frame_bytes: limits.frame_bytes,
                commands_per_sec: limits.commands_per_sec,
                in_flight: limits.in_flight,
                queue_bytes: limits.queue_bytes,
            },
            node: self.deps.entries.cluster().node(),
            pull: self.socket.pulls(),
        };
        self.push(&Event::new("ready", &ready));
        self.socket.outbox.restart_count();
        self.stage = Stage::Ready;
        self.release(arrival, &snapshot);
        self.push_heads(context);
        self.deps.entries.metrics().sockets.inc();
        self.deps.entries.metrics().readies.inc();
        self.counted = true;
        let presences = self.deps.presences.clone();
        actix_rt::spawn(async move { presences.opened(identity.user, identity.session).await });
        self.schedule_heartbeat(context);
    }

    /// The pages of heads that did not fit into `ready`, as fast as the client takes them, and behind each what was held.
    fn push_heads(&mut self, context: &mut Context<Self>) {
        while !self.heads.is_empty() {
            if self.socket.outbox.is_half_full() {
                return self.socket.when_emptied();
            }
            let rest = self.heads.split_off(self.heads.len().min(HEADS));
            let page = std::mem::replace(&mut self.heads, rest);
            let topic = |head: &Head| Topic::Conversation(head.conversation_id);
            let (overtaken, page): (Vec<_>, Vec<_>) =
                page.into_iter().partition(|(head, _)| self.socket.is_overtaken(topic(head)));
            let heads: Vec<Head> = page.iter().map(|(head, _)| head.clone()).collect();
            self.push(&Event::new("heads", &event::Heads { heads: &heads, more: !self.heads.is_empty() }));
            for (head, visible_from_seq) in page {
                self.socket.release(topic(&head), head.last_rev, visible_from_seq);
            }
            for (head, _) in overtaken {
                // Something of the user's own has changed there meanwhile.
                self.socket.detach(topic(&head));
                self.join_one(head.conversation_id, None, context);
            }
        }
    }

    /// What was held since the socket began to listen goes out now, behind `ready`.
    fn release(&self, arrival: &Arrival, snapshot: &Snapshot) {
        let later: std::collections::HashSet<ConversationId> =
            self.heads.iter().map(|(head, _)| head.conversation_id).collect();
        for (conversation, rev, visible_from_seq) in snapshot.revs.iter().filter(|(id, _, _)| !later.contains(id)) {
            self.socket.release(Topic::Conversation(*conversation), *rev, *visible_from_seq);
        }
        // Who was removed between the list and the heads listens no more.
        let kept: std::collections::HashSet<ConversationId> = snapshot.revs.iter().map(|(id, _, _)| *id).collect();
        for membership in arrival.memberships.iter().filter(|membership| !kept.contains(&membership.conversation)) {
            self.socket.detach(Topic::Conversation(membership.conversation));
        }
        self.socket.release(Topic::User(arrival.user.id), arrival.user_rev, 0);
    }

    /// The user has become a member: listen, look, then say so with what was found.
    fn join_one(&mut self, conversation: ConversationId, user_rev: Option<i64>, context: &mut Context<Self>) {
        let Some(user) = self.socket.user.get() else { return };
        if let Some(again) = self.joining.get_mut(&conversation) {
            *again = true;
            return;
        }
        if self.socket.listens(Topic::Conversation(conversation)) {
            return;
        }
        self.joining.insert(conversation, false);
        let (deps, socket) = (self.deps.clone(), self.socket.clone());
        let joined = async move {
            socket.attach(Topic::Conversation(conversation), user).await;
            let snapshot = deps.greeter.look(user, vec![conversation], Known::default()).await?;
            let view = deps.conversations.get(user, GetConversation { conversation_id: conversation }).await?;
            Outcome::Ok((snapshot, view))
        };
        context.spawn(joined.into_actor(self).map(move |outcome, session, context| {
            let topic = Topic::Conversation(conversation);
            let again = session.joining.remove(&conversation).unwrap_or(false);
            if again || session.socket.is_overtaken(topic) {
                // What it found is not true any more, perhaps.
                session.socket.detach(topic);
                return session.join_one(conversation, user_rev, context);
            }
            match outcome {
                Ok((snapshot, view)) => {
                    let Some((_, rev, visible_from_seq)) = snapshot.revs.first().copied() else {
                        return session.socket.detach(topic);
                    };
                    let mut added = Event::new("conversation.added", &view).within(conversation);
                    added.user_rev = user_rev;
                    added.at = Some(session.deps.clock.now());
                    session.push(&added);
                    session.socket.release(topic, rev, visible_from_seq);
                }
                Err(error) => {
                    session.socket.detach(topic);
                    if error.code() == ErrorCode::ServerUnavailable {
                        // Without it the socket would be deaf there: it resumes, and finds what is true.
                        session.socket.outbox.close(CloseCode::OutOfStep);
                    }
                }
            }
        }));
    }

    // --- commands

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
        let renewed = self.renewed(data).and_then(|identity| {
            self.identity = Some(identity);
            self.watch_expiry(identity.expires_at, context);
            let reply = crate::protocol::view::Renewed { expires_at: identity.expires_at };
            serde_json::value::to_raw_value(&reply).map_err(|error| Error::Fault(crate::protocol::Fault::new(error)))
        });
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

    // --- marks, one a second for each conversation

    fn mark(&mut self, id: Option<&str>, name: &str, data: &RawValue, context: &mut Context<Self>) {
        let read = name == MarkRead::NAME;
        let request_id = self.caller().request_id;
        // Both commands have the same shape.
        let (conversation, seq) =
            match json::read::<MarkRead>(data.get().as_bytes()).and_then(|mark| mark.check().map(|()| mark)) {
                Ok(mark) => (mark.conversation_id, mark.seq),
                Err(error) => return self.answer(id, Err(error), &request_id),
            };
        let mark = self.marks.waiting.entry(conversation).or_default();
        let waits = !mark.answers.is_empty();
        let raised = if read { &mut mark.read } else { &mut mark.delivered };
        *raised = Some(raised.unwrap_or(0).max(seq));
        mark.answers.push((id.map(str::to_owned), read));
        if waits {
            return;
        }
        let now = self.deps.clock.now();
        let due = self.marks.sent_at.get(&conversation).map_or(now, |at| at.plus(Duration::from_secs(1)));
        if due <= now {
            return self.send_mark(conversation, context);
        }
        let wait = self.deps.clock.sleep_until(due);
        context.spawn(wait.into_actor(self).map(move |(), session, context| session.send_mark(conversation, context)));
    }

    fn send_mark(&mut self, conversation: ConversationId, context: &mut Context<Self>) {
        let Some(mark) = self.marks.waiting.remove(&conversation) else { return };
        let now = self.deps.clock.now();
        self.marks.sent_at.retain(|_, at| at.plus(Duration::from_secs(1)) > now);
        self.marks.sent_at.insert(conversation, now);
        for (read, seq) in [(true, mark.read), (false, mark.delivered)] {
            let Some(seq) = seq else { continue };
            let caller = self.caller();
            let request_id = caller.request_id.clone();
            let name = if read { MarkRead::NAME } else { MarkDelivered::NAME };
            let Ok(data) =
                serde_json::value::to_raw_value(&serde_json::json!({ "conversationId": conversation, "seq": seq }))
            else {
                continue;
            };
            let answers: Vec<Option<String>> =
                mark.answers.iter().filter(|(_, of)| *of == read).map(|(id, _)| id.clone()).collect();
            self.in_flight += 1;
            let served = self.deps.dispatch.call(caller, name, &data);
            context.spawn(served.into_actor(self).map(move |outcome, session, context| {
                for id in answers {
                    match &outcome {
                        Ok(reply) => session.answer(id.as_deref(), Ok(reply.clone()), &request_id),
                        Err(Error::Refused(refusal)) => {
                            session.answer(id.as_deref(), Err(refusal.clone().into()), &request_id)
                        }
                        Err(Error::Fault(_)) => {
                            session.answer(id.as_deref(), Err(ErrorCode::ServerUnavailable.into()), &request_id)
                        }
                    }
                }
                session.served(context);
            }));
        }
    }

    // --- heartbeat

    fn schedule_heartbeat(&self, context: &mut Context<Self>) {
        let wait = self.deps.clock.sleep(self.deps.limits.heartbeat);
        context.spawn(wait.into_actor(self).map(|(), session, context| session.beat(context)));
    }

    fn beat(&mut self, context: &mut Context<Self>) {
        if self.socket.outbox.closed().is_some() {
            return;
        }
        if self.beat.is_some() && !self.pings {
            // The one before is still on its way.
            return self.schedule_heartbeat(context);
        }
        self.socket.stop_pulling_when_idle();
        self.review_watched(context);
        self.review_session(context);
        let outbox = &self.socket.outbox;
        let nonce = self.deps.clock.uuid().simple().to_string();
        let delivered = outbox.delivered();
        if self.pings {
            self.alive = false;
            outbox.push(Bytes::from_static(&[0x89, 0]), 0);
        } else {
            outbox.push(Event::new("heartbeat", &event::Heartbeat { nonce: nonce.clone(), delivered }).frame(), 0);
        }
        self.beat = Some(Beat { nonce, delivered, mark: outbox.mark(), drained: outbox.drained() });
        self.socket.mark_beat();
        self.watch_progress(context);
        self.schedule_heartbeat(context);
    }

    /// Until the heartbeat has left the queue, what counts is that the client takes anything at all.
    fn watch_progress(&self, context: &mut Context<Self>) {
        let wait = self.deps.clock.sleep(self.deps.limits.heartbeat_answer);
        context.spawn(wait.into_actor(self).map(|(), session, context| {
            let drained = session.socket.outbox.drained();
            match &mut session.beat {
                Some(beat) if drained >= beat.mark => {}
                Some(beat) if drained > beat.drained => {
                    beat.drained = drained;
                    session.watch_progress(context);
                }
                Some(_) => session.close(CloseCode::NoHeartbeat, context),
                None => {}
            }
        }));
    }

    /// The heartbeat has left the queue: from now on its time runs.
    fn await_answer(&self, context: &mut Context<Self>) {
        let Some(nonce) = self.beat.as_ref().map(|beat| beat.nonce.clone()) else { return };
        let wait = self.deps.clock.sleep(self.deps.limits.heartbeat_answer);
        context.spawn(wait.into_actor(self).map(move |(), session, context| {
            if session.pings && session.alive {
                session.beat = None;
            }
            if session.beat.as_ref().is_some_and(|beat| beat.nonce == nonce) {
                session.close(CloseCode::NoHeartbeat, context);
            }
        }));
    }

    fn heartbeat_answered(&mut self, data: Option<&RawValue>, context: &mut Context<Self>) {
        let answer = data.and_then(|data| serde_json::from_str::<HeartbeatAnswer>(data.get()).ok());
        let Some(answer) = answer else { return self.close(CloseCode::OutOfStep, context) };
        match &self.beat {
            Some(beat) if beat.nonce == answer.nonce && beat.delivered == answer.received => self.beat = None,
            Some(beat) if beat.nonce == answer.nonce => self.close(CloseCode::OutOfStep, context),
            // An answer to an older one says nothing.
            _ => {}
        }
    }

    /// For a socket that was too slow twice: where it may read on, instead of everything.
    fn push_hints(&self) {
        let hints = self.socket.take_hints();
        let heads: Vec<event::Hint> =
            hints.into_iter().map(|(conversation_id, last_rev)| event::Hint { conversation_id, last_rev }).collect();
        if !heads.is_empty() {
            self.push(&Event::new("heads", &event::Hints { heads: &heads, more: false }));
        }
    }

    /// Whether the session was ended and the hint was lost.
    fn review_session(&self, context: &mut Context<Self>) {
        let Some(id) = self.socket.session.get() else { return };
        let greeter = self.deps.greeter.clone();
        let reviewed = async move { greeter.stands(id).await };
        context.spawn(reviewed.into_actor(self).map(|stands, session, context| {
            if matches!(stands, Ok(false)) {
                session.close(CloseCode::SessionRevoked, context);
            }
        }));
    }

    /// Whom the user shares no conversation with any more is watched no more.
    fn review_watched(&self, context: &mut Context<Self>) {
        let watched: Vec<UserId> = self.socket.watched().into_iter().collect();
        let Some(user) = self.socket.user.get().filter(|_| !watched.is_empty()) else { return };
        let presences = self.deps.presences.clone();
        let reviewed = async move { presences.estranged(user, watched).await };
        context.spawn(reviewed.into_actor(self).map(|estranged, session, _| {
            for other in estranged.unwrap_or_default() {
                session.socket.detach(Topic::Presence(other));
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

/// Subscribe, then look: nothing can fall between.
async fn join(
    deps: &SessionDeps,
    socket: &Rc<Socket>,
    identity: Identity,
    known: Known,
) -> Outcome<(Arrival, Snapshot)> {
    socket.attach(Topic::User(identity.user), identity.user).await;
    let arrival = deps.greeter.arrive(identity.user, identity.session).await?;
    let attached = arrival
        .memberships
        .iter()
        .map(|membership| socket.attach(Topic::Conversation(membership.conversation), identity.user));
    futures_util::future::join_all(attached).await;
    let conversations = arrival.memberships.iter().map(|membership| membership.conversation).collect();
    let snapshot = deps.greeter.look(identity.user, conversations, known).await?;
    Ok((arrival, snapshot))
}
