//! `/ws`, `/ws/chat`, `/ws/webrtc`: the handshake; then the stream belongs to a session.
//! Never a command and never a frame's meaning.

use super::error::Failure;
use super::extract;
use super::outbound::Outbound;
use crate::app::App;
use actix_http::ws::{self, Codec, Frame, Item, ProtocolError};
use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Bytes, BytesMut};
use actix_web::{HttpRequest, HttpResponse};
use actors::hub::Socket;
use actors::outbox::CloseCode;
use actors::protocol::{Door, ErrorCode, Refusal};
use actors::session::{Handshake, Incoming, SessionActor, SessionDeps};
use futures_util::Stream;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio_util::codec::Decoder;

/// The subprotocol that is spoken.
const PROTOCOL: &str = "quckchat.v1";
/// Messages that a session takes in one turn.
const TURN: usize = 64;
/// Before the token, in a browser's list of subprotocols.
const BEARER: &str = "bearer.";

/// `/ws`: everything.
pub async fn ws(req: HttpRequest, body: web::Payload, app: web::Data<App>) -> Result<HttpResponse, Failure> {
    open(&req, body, &app, Door::Socket)
}

/// `/ws/chat`: no calls.
pub async fn ws_chat(req: HttpRequest, body: web::Payload, app: web::Data<App>) -> Result<HttpResponse, Failure> {
    open(&req, body, &app, Door::ChatSocket)
}

/// `/ws/webrtc`: calls and presence only.
pub async fn ws_webrtc(req: HttpRequest, body: web::Payload, app: web::Data<App>) -> Result<HttpResponse, Failure> {
    open(&req, body, &app, Door::CallSocket)
}

fn open(req: &HttpRequest, body: web::Payload, app: &App, door: Door) -> Result<HttpResponse, Failure> {
    check_origin(req, app)?;
    if app.readiness.is_draining() {
        return Err(ErrorCode::ServerUnavailable.into());
    }
    ws::handshake(req.head())
        .map_err(|error| Failure::from(Refusal::new(ErrorCode::RequestMalformed).saying(error.to_string())))?;
    let deps = req.app_data::<Rc<SessionDeps>>().ok_or(ErrorCode::ServerUnavailable)?.clone();
    let address = extract::address(req, app);
    let Some(permit) = app.limiter.hello_permit(address) else { return Err(ErrorCode::RequestRateLimited.into()) };
    let (offered, token) = offer(req);
    let identity = match token.map(|token| app.auth.tokens.verify(token, app.clock.now())) {
        Some(Ok(identity)) => Some(identity),
        Some(Err(_)) => {
            // A browser cannot read an HTTP status here, but it can read why a socket was closed.
            let closing = Outbound::closing(&deps.hub, CloseCode::NotAuthenticated);
            return Ok(switch(req, offered, closing));
        }
        None => None,
    };
    let handshake = Handshake { door, identity, address, permit: Some(Box::new(permit)) };
    let hello_bytes = deps.limits.hello_bytes;
    let socket = SessionActor::begin(deps, handshake, |socket| Box::new(Inbound::new(body, socket, hello_bytes)));
    Ok(switch(req, offered, Outbound::new(socket)))
}

/// A page of another origin has no business here; what is no browser sends no origin.
fn check_origin(req: &HttpRequest, app: &App) -> Result<(), Failure> {
    let Some(origin) = req.headers().get(header::ORIGIN) else { return Ok(()) };
    let host = req.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if origin.to_str().is_ok_and(|origin| app.config.gateway.allows_origin(origin, host)) {
        return Ok(());
    }
    Err(ErrorCode::RequestForbiddenOrigin.into())
}

/// Whether our subprotocol was offered, and the token that the handshake carries.
fn offer(req: &HttpRequest) -> (bool, Option<&str>) {
    let lists = req.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|list| list.to_str().ok());
    let mut offered = false;
    let mut token = None;
    for protocol in lists.flat_map(|list| list.split(',')).map(str::trim) {
        offered |= protocol == PROTOCOL;
        token = token.or(protocol.strip_prefix(BEARER));
    }
    match extract::bearer(req.headers()) {
        Ok(Some(bearer)) => (offered, Some(bearer)),
        Ok(None) => (offered, token),
        // Another scheme is refused like a bad token.
        Err(_) => (offered, Some("")),
    }
}

fn switch(req: &HttpRequest, offered: bool, body: Outbound) -> HttpResponse {
    let key = req.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| ws::hash_key(key.as_bytes()));
    let mut response = HttpResponse::build(StatusCode::SWITCHING_PROTOCOLS);
    response.upgrade("websocket");
    if let Some(Ok(accept)) = key.as_ref().map(|key| std::str::from_utf8(key)) {
        response.insert_header((header::SEC_WEBSOCKET_ACCEPT, accept));
    }
    if offered {
        response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL));
    }
    response.streaming(body)
}

/// What the client sends, as whole messages.
struct Inbound {
    payload: web::Payload,
    codec: Codec,
    bytes: BytesMut,
    /// The parts of a message that came in several frames; `None` between messages.
    parts: Option<Vec<u8>>,
    most: usize,
    socket: Rc<Socket>,
    ended: bool,
}

impl Inbound {
    fn new(payload: web::Payload, socket: Rc<Socket>, most: usize) -> Inbound {
        let codec = Codec::new().max_size(most);
        Inbound { payload, codec, bytes: BytesMut::new(), parts: None, most, socket, ended: false }
    }

    /// The next whole message among the bytes that are here.
    fn decode(&mut self) -> Option<Incoming> {
        loop {
            let frame = match self.codec.decode(&mut self.bytes) {
                Ok(frame) => frame?,
                Err(ProtocolError::Overflow) => return Some(Incoming::End(CloseCode::FrameTooLarge)),
                Err(_) => return Some(Incoming::End(CloseCode::ProtocolError)),
            };
            match frame {
                Frame::Text(text) => return Some(Incoming::Text(text)),
                Frame::Continuation(item) => match self.assemble(item) {
                    Some(incoming) => return Some(incoming),
                    None => continue,
                },
                Frame::Ping(payload) => {
                    self.socket.outbox.push(pong(&payload), 0);
                    return Some(Incoming::Alive);
                }
                Frame::Pong(_) => return Some(Incoming::Alive),
                Frame::Close(_) => return Some(Incoming::End(CloseCode::Normal)),
                Frame::Binary(_) => return Some(Incoming::End(CloseCode::ProtocolError)),
            }
        }
    }

    fn assemble(&mut self, item: Item) -> Option<Incoming> {
        let (part, last) = match item {
            Item::FirstText(part) => {
                self.parts = Some(Vec::new());
                (part, false)
            }
            Item::FirstBinary(_) => return Some(Incoming::End(CloseCode::ProtocolError)),
            Item::Continue(part) => (part, false),
            Item::Last(part) => (part, true),
        };
        let Some(parts) = &mut self.parts else { return Some(Incoming::End(CloseCode::ProtocolError)) };
        if parts.len() + part.len() > self.most {
            return Some(Incoming::End(CloseCode::FrameTooLarge));
        }
        parts.extend_from_slice(&part);
        if last { self.parts.take().map(|whole| Incoming::Text(Bytes::from(whole))) } else { None }
    }
}

fn pong(payload: &[u8]) -> Bytes {
    // A ping's payload is at most 125 bytes (RFC 6455, section 5.5), which the codec holds it to.
    let mut frame = vec![0x8A, payload.len().min(125) as u8];
    frame.extend_from_slice(&payload[..payload.len().min(125)]);
    frame.into()
}

impl Stream for Inbound {
    type Item = Vec<Incoming>;

    /// All whole messages that are here: the session takes them in one turn.
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Vec<Incoming>>> {
        loop {
            if self.ended || self.socket.outbox.has_ended() {
                return Poll::Ready(None);
            }
            // While much waits for this client, its commands wait too.
            ready!(self.socket.outbox.poll_readable(cx));
            let mut messages = Vec::new();
            while let Some(incoming) = self.decode() {
                self.ended = matches!(incoming, Incoming::End(_));
                messages.push(incoming);
                if self.ended || messages.len() == TURN {
                    break;
                }
            }
            if self.bytes.is_empty() {
                // An idle socket keeps no buffer.
                self.bytes = BytesMut::new();
            }
            if !messages.is_empty() {
                return Poll::Ready(Some(messages));
            }
            match ready!(Pin::new(&mut self.payload).poll_next(cx)) {
                Some(Ok(bytes)) => self.bytes.extend_from_slice(&bytes),
                Some(Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}
