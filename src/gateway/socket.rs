//! `/ws`, `/ws/chat`, `/ws/webrtc`: the handshake; then the connection belongs to a session.
//! Never a command and never a frame's meaning.
//!
//! # Why
//! A request that asks for a WebSocket is taken from the HTTP server with its connection, before the
//! web framework: so an idle socket keeps none of the server's buffers, which would be most of what
//! it costs, and what goes out is written from the shared frames without a copy.

use super::connection::{Connection, Inbound};
use super::error::Failure;
use super::extract::{self, RequestId};
use super::transport::{Duplex, Transport};
use crate::app::App;
use actix_codec::Framed;
use actix_http::body::{BodySize, MessageBody};
use actix_http::h1;
use actix_http::{Request, Response, ws};
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::{Bytes, BytesMut};
use actix_web::{HttpMessage, ResponseError};
use actors::outbox::CloseCode;
use actors::protocol::{Door, ErrorCode, Refusal};
use actors::session::{Handshake, SessionActor, SessionDeps};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::codec::Encoder;

/// Where sockets are opened, and what each is for.
pub const PATHS: [(&str, Door); 3] =
    [("/ws", Door::Socket), ("/ws/chat", Door::ChatSocket), ("/ws/webrtc", Door::CallSocket)];
/// The subprotocol that is spoken.
const PROTOCOL: &str = "quckchat.v1";
/// Before the token, in a browser's list of subprotocols.
const BEARER: &str = "bearer.";
/// When an address that has too many sockets waiting for their hello may try again.
const HELLOS_RETRY: Duration = Duration::from_secs(1);
/// When to try again where a node goes away: by then a balancer has noticed.
const DRAINING_RETRY: Duration = Duration::from_secs(1);

/// Serves one connection that asked for a WebSocket, until it ends.
pub fn serve<T: Transport>(
    req: Request,
    framed: Framed<T, h1::Codec>,
    app: &App,
    deps: &Rc<SessionDeps>,
) -> impl Future<Output = ()> + use<T> {
    // Not in the future itself: what served the handshake is not kept while the socket lives.
    let parts = framed.into_parts();
    let (io, mut codec) = (Rc::new(parts.io.share()), parts.codec);
    let connection = match open(&req, app) {
        Ok(opening) => {
            let mut response = ws::handshake_response(req.head());
            if opening.offered {
                response.insert_header((header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL));
            }
            let head = encode(&mut codec, response.finish().drop_body(), &[]);
            connect(opening, io, parts.read_buf, head, deps)
        }
        Err(failure) => refuse(&failure, app, &mut codec, io, deps),
    };
    connection.run()
}

/// What a handshake came to.
struct Opening {
    handshake: Handshake,
    /// Our subprotocol was offered.
    offered: bool,
    /// The token is no good: a browser cannot read an HTTP status here, but it can read why a socket was closed.
    forged: bool,
}

fn open(req: &Request, app: &App) -> Result<Opening, Failure> {
    let headers = req.headers();
    let (_, door) = PATHS.iter().find(|(path, _)| *path == req.path()).ok_or(ErrorCode::RequestNotFound)?;
    check_origin(headers, app)?;
    if app.nodes.is_draining() {
        let elsewhere = Refusal::new(ErrorCode::ServerUnavailable).saying("The node is going away; come back.");
        return Err(elsewhere.after(DRAINING_RETRY).into());
    }
    ws::verify_handshake(req.head())
        .map_err(|error| Refusal::new(ErrorCode::RequestMalformed).saying(error.to_string()))?;
    let address = extract::address_of(headers, req.peer_addr(), app);
    let permit = app.limiter.hello_permit(address);
    let permit = permit.ok_or_else(|| Refusal::new(ErrorCode::RequestRateLimited).after(HELLOS_RETRY))?;
    let (offered, token) = offer(headers);
    let identity = token.map(|token| app.auth.tokens.verify(token, app.clock.now())).transpose();
    let forged = identity.is_err();
    let identity = identity.unwrap_or(None);
    let handshake = Handshake { door: *door, identity, address, permit: Some(Box::new(permit)) };
    Ok(Opening { handshake, offered, forged })
}

/// A page of another origin has no business here; what is no browser sends no origin.
fn check_origin(headers: &HeaderMap, app: &App) -> Result<(), Failure> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if origin.to_str().is_ok_and(|origin| app.config.gateway.allows_origin(origin, host)) {
        return Ok(());
    }
    Err(ErrorCode::RequestForbiddenOrigin.into())
}

/// Whether our subprotocol was offered, and the token that the handshake carries.
fn offer(headers: &HeaderMap) -> (bool, Option<&str>) {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).filter_map(|list| list.to_str().ok());
    let mut offered = false;
    let mut token = None;
    for protocol in lists.flat_map(|list| list.split(',')).map(str::trim) {
        offered |= protocol == PROTOCOL;
        token = token.or(protocol.strip_prefix(BEARER));
    }
    match extract::bearer(headers) {
        Ok(Some(bearer)) => (offered, Some(bearer)),
        Ok(None) => (offered, token),
        // Another scheme is refused like a bad token.
        Err(_) => (offered, Some("")),
    }
}

fn encode(codec: &mut h1::Codec, response: Response<()>, body: &[u8]) -> Bytes {
    let size = if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        BodySize::None
    } else {
        BodySize::Sized(body.len() as u64)
    };
    let mut bytes = BytesMut::new();
    if codec.encode(h1::Message::Item((response, size)), &mut bytes).is_err() {
        return Bytes::new();
    }
    bytes.extend_from_slice(body);
    bytes.freeze()
}

fn connect<S: Duplex>(
    opening: Opening,
    io: Rc<S>,
    read: BytesMut,
    head: Bytes,
    deps: &Rc<SessionDeps>,
) -> Connection<S> {
    if opening.forged {
        return closing(io, head, CloseCode::NotAuthenticated, deps);
    }
    let hello_bytes = deps.limits.hello_bytes;
    let stream = io.clone();
    let incoming = |socket| Box::new(Inbound::new(stream, &read, socket, hello_bytes)) as Box<_>;
    let socket = SessionActor::begin(deps.clone(), opening.handshake, incoming);
    Connection::new(io, socket, head)
}

/// A connection that is closed as soon as it is open.
fn closing<S: Duplex>(io: Rc<S>, head: Bytes, code: CloseCode, deps: &SessionDeps) -> Connection<S> {
    let (notices, _) = mpsc::unbounded_channel();
    let socket = deps.hub.socket(deps.limits.queue_bytes, notices);
    socket.outbox.close(code);
    Connection::new(io, socket, head)
}

/// A refusal in HTTP's words; the connection ends behind it.
fn refuse<S: Duplex>(
    failure: &Failure,
    app: &App,
    codec: &mut h1::Codec,
    io: Rc<S>,
    deps: &SessionDeps,
) -> Connection<S> {
    app.metrics.refused(Door::Socket, failure.code());
    let id = RequestId::new(app);
    let (response, body) = failure.clone().named(&id.0).error_response().into_parts();
    let body = body.try_into_bytes().unwrap_or_default();
    let head = encode(codec, response.into(), &body);
    let (notices, _) = mpsc::unbounded_channel();
    let socket = deps.hub.socket(deps.limits.queue_bytes, notices);
    socket.outbox.end();
    Connection::new(io, socket, head)
}
