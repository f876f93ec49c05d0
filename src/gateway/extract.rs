//! What handlers take and give back: the caller, path ids, bodies, and replies with their status (see also `query`).
//! Never enforces access by itself: it reads what the command declares.

use super::error::Failure;
use super::languages::languages;
use crate::app::App;
use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, Responder, web};
use actors::caller::{Caller, Identity};
use actors::protocol::command::UserRef;
use actors::protocol::json::read;
use actors::protocol::{Access, Command, Door, ErrorCode, Fault, Outcome, Refusal, view};
use bytes::BytesMut;
use entities::{ConversationId, MessageId, SessionId, UserId};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use ipnet::IpNet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::rc::Rc;
use uuid::Uuid;

/// The node's parts, as the router gave them to this worker.
pub fn app(req: &HttpRequest) -> Outcome<&web::Data<App>> {
    req.app_data().ok_or_else(|| Fault::new("the router was given no App").into())
}

// --- who calls

/// The name of a request: its client's own if that is sane, else one of ours. The edge puts it there.
#[derive(Clone)]
pub struct RequestId(pub Rc<str>);

impl RequestId {
    /// The client's `X-Request-Id`, if it is 1 to 64 of letters, digits, '-', '_' and '.'.
    pub fn sent(headers: &HeaderMap) -> Option<RequestId> {
        let sent = headers.get("x-request-id")?.to_str().ok()?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        ((1..=64).contains(&sent.len()) && sent.bytes().all(plain)).then(|| RequestId(sent.into()))
    }

    /// A new one.
    pub fn new(app: &App) -> RequestId {
        RequestId(app.clock.uuid().simple().to_string().into())
    }

    /// The request's name.
    pub fn of(req: &HttpRequest, app: &App) -> Rc<str> {
        let named = req.extensions().get::<RequestId>().cloned();
        named.unwrap_or_else(|| RequestId::new(app)).0
    }
}

/// The token of `Authorization: Bearer`. Another scheme is no token of ours.
pub fn bearer(headers: &HeaderMap) -> Outcome<Option<&str>> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| ErrorCode::AuthUnauthenticated)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(ErrorCode::AuthUnauthenticated.into()),
    }
}

/// Whom a request's token names: nobody without one; the code that refuses it, if it is not good. Looked at once.
pub fn identity(req: &HttpRequest, app: &App) -> Result<Option<Identity>, ErrorCode> {
    type Known = Result<Option<Identity>, ErrorCode>;
    if let Some(known) = req.extensions().get::<Known>() {
        return *known;
    }
    let found: Known = bearer(req.headers())
        .and_then(|token| token.map(|token| app.auth.tokens.verify(token, app.clock.now())).transpose())
        .map_err(|error| error.code());
    req.extensions_mut().insert(found);
    found
}

/// The client's address, as far as it is known.
pub fn address(req: &HttpRequest, app: &App) -> Option<IpAddr> {
    address_of(req.headers(), req.peer_addr(), app)
}

/// The same, for what is no request of the web framework.
pub fn address_of(headers: &HeaderMap, peer: Option<SocketAddr>, app: &App) -> Option<IpAddr> {
    let hops = headers.get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    client_address(peer.map(|peer| peer.ip()), hops, &app.config.gateway.trusted_proxies)
}

/// The rightmost hop that is not a trusted proxy.
///
/// Each proxy writes the address that it was called from at the right end of `X-Forwarded-For`. So what stands there
/// is as true as the proxy that wrote it, and everything left of the first stranger is what that stranger says.
fn client_address<'a>(
    peer: Option<IpAddr>,
    headers: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let mut client = peer?.to_canonical();
    let hops = headers.rev().flat_map(|header| header.rsplit(','));
    for hop in hops.map(parse_hop) {
        if !trusted.iter().any(|network| network.contains(&client)) {
            break;
        }
        match hop {
            Some(hop) => client = hop.to_canonical(),
            // What a trusted proxy wrote is no address: nothing is known beyond it.
            None => break,
        }
    }
    Some(client)
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|addr| addr.ip()))
}

/// What calls, as it says itself: as much of it as is worth keeping.
fn user_agent(headers: &HeaderMap) -> Option<Rc<str>> {
    const KEPT: usize = 200;
    let said = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(said.get(..KEPT).unwrap_or(said).into())
}

/// Who calls the command `C` by REST.
///
/// `C` declares who may. A user's command is refused here if nobody has signed in, before its body is looked at: let it
/// be a handler's first argument. For a public one the token is not looked at, so that a client may refresh while it
/// still sends the old one. Whether the session still stands is the wrapper's to ask.
pub struct Call<C> {
    caller: Caller,
    command: PhantomData<C>,
}

impl<C> Call<C> {
    /// The same caller, whose token is looked at although the command is a public one: what they ask of it is not.
    ///
    /// # Errors
    /// `auth.unauthenticated`, `auth.token_expired`
    pub fn signed_in(self, req: &HttpRequest) -> Outcome<Call<C>> {
        let identity = identity(req, app(req)?)?.ok_or(ErrorCode::AuthUnauthenticated)?;
        Ok(Call { caller: Caller { identity: Some(identity), ..self.caller }, command: PhantomData })
    }
}

impl<C> Call<C> {
    /// The same caller, whose `Accept-Language` is looked at: what they ask for is written to somebody.
    pub fn in_their_language(self, req: &HttpRequest) -> Call<C> {
        Call { caller: Caller { languages: languages(req), ..self.caller }, command: PhantomData }
    }
}

impl<C> Deref for Call<C> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl<C: Command> FromRequest for Call<C> {
    type Error = Failure;
    type Future = Ready<Result<Call<C>, Failure>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(call(req).map_err(Failure::from))
    }
}

fn call<C: Command>(req: &HttpRequest) -> Outcome<Call<C>> {
    let app = app(req)?;
    let identity = match C::ACCESS {
        Access::Public => None,
        Access::User | Access::Fresh | Access::Operator => {
            Some(identity(req, app)?.ok_or(ErrorCode::AuthUnauthenticated)?)
        }
    };
    let caller = Caller {
        identity,
        door: Door::Rest,
        address: address(req, app),
        user_agent: user_agent(req.headers()),
        languages: None,
        request_id: RequestId::of(req, app),
        socket: None,
    };
    Ok(Call { caller, command: PhantomData })
}

// --- what is asked

/// An id in a path.
pub trait PathId: std::str::FromStr {
    /// How the path names it: as the command's field.
    const NAME: &'static str;
    /// The id that nothing has.
    const NOTHING: Self;
}

impl PathId for ConversationId {
    const NAME: &'static str = "conversationId";
    const NOTHING: ConversationId = ConversationId::from_uuid(Uuid::nil());
}

impl PathId for MessageId {
    const NAME: &'static str = "messageId";
    const NOTHING: MessageId = MessageId::from_uuid(Uuid::nil());
}

impl PathId for UserId {
    const NAME: &'static str = "userId";
    const NOTHING: UserId = UserId::from_uuid(Uuid::nil());
}

impl PathId for SessionId {
    const NAME: &'static str = "sessionId";
    const NOTHING: SessionId = SessionId::from_uuid(Uuid::nil());
}

impl PathId for UserRef {
    const NAME: &'static str = "userId";
    const NOTHING: UserRef = UserRef::Id(UserId::NOTHING);
}

/// The id of this kind in the path. What is no id names nothing, so the command answers as for what does not exist.
pub struct Id<T>(pub T);

impl<T: PathId> FromRequest for Id<T> {
    type Error = Failure;
    type Future = Ready<Result<Id<T>, Failure>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let text = req.match_info().get(T::NAME).unwrap_or_default();
        ready(Ok(Id(text.parse().unwrap_or(T::NOTHING))))
    }
}

/// A JSON body, at most `gateway.body_bytes` long.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Body<T> {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Body<T>, Failure>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let expected = app(req).and_then(|app| {
            let most = app.config.gateway.body_bytes;
            expect_json(req.headers(), most).map(|()| most)
        });
        let payload = payload.take();
        Box::pin(async move {
            let json = collect(payload, expected?).await?;
            // The reader skips what it does not know without a look at it; but JSON is UTF-8 as a whole.
            std::str::from_utf8(&json).map_err(|_| ErrorCode::RequestMalformed)?;
            Ok(Body(read(&json)?))
        })
    }
}

/// Refuses by the headers what need not be read.
fn expect_json(headers: &HeaderMap, most: usize) -> Outcome<()> {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        return Err(ErrorCode::RequestUnsupportedMediaType.into());
    }
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length > most as u64 => Err(ErrorCode::RequestTooLarge.into()),
        _ => Ok(()),
    }
}

async fn collect(mut payload: Payload, most: usize) -> Result<BytesMut, Failure> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        // The connection broke; nobody will read the answer.
        let chunk = chunk.map_err(|_| ErrorCode::RequestMalformed)?;
        if body.len() + chunk.len() > most {
            return Err(ErrorCode::RequestTooLarge.into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The `Idempotency-Key` header: another way to give the body's `clientId`.
pub struct IdempotencyKey(Option<String>);

impl FromRequest for IdempotencyKey {
    type Error = Failure;
    type Future = Ready<Result<IdempotencyKey, Failure>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = HeaderName::from_static("idempotency-key");
        let key = req.headers().get(header).map(|value| value.to_str().map(unquoted));
        let key = key.transpose().map_err(|_| Refusal::invalid("Idempotency-Key", "must be ASCII").into());
        ready(key.map(IdempotencyKey))
    }
}

/// The header's draft has a quoted string; most clients send it bare.
fn unquoted(key: &str) -> String {
    let key = key.trim();
    key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key).to_owned()
}

impl IdempotencyKey {
    /// The one key of a request whose body may name one too.
    pub fn or(self, in_body: Option<String>) -> Outcome<Option<String>> {
        match (self.0, in_body) {
            (Some(header), Some(body)) if header != body => {
                Err(Refusal::invalid("clientId", "differs from the header Idempotency-Key").into())
            }
            (header, body) => Ok(body.or(header)),
        }
    }
}

// --- what is answered

/// A command's outcome as an answer.
pub struct Reply<T> {
    outcome: Outcome<T>,
    status: fn(&T) -> StatusCode,
}

/// 200 with the reply; 204 where there is nothing to say.
pub fn reply<T>(outcome: Outcome<T>) -> Reply<T> {
    Reply { outcome, status: |_| StatusCode::OK }
}

/// 201 for what this request made; 200 for what an earlier one had made.
pub fn created<T: Repeatable>(outcome: Outcome<T>) -> Reply<T> {
    let status = |made: &T| if made.is_repeat() { StatusCode::OK } else { StatusCode::CREATED };
    Reply { outcome, status }
}

/// What a repeated request gets again.
pub trait Repeatable {
    /// Whether an earlier request had made it.
    fn is_repeat(&self) -> bool;
}

impl Repeatable for view::Sent {
    fn is_repeat(&self) -> bool {
        self.duplicate
    }
}

impl Repeatable for view::Created {
    fn is_repeat(&self) -> bool {
        self.duplicate
    }
}

impl<T: Serialize> Responder for Reply<T> {
    type Body = BoxBody;

    fn respond_to(self, _: &HttpRequest) -> HttpResponse {
        let written = self.outcome.and_then(|value| {
            let json = serde_json::to_vec(&value).map_err(Fault::new)?;
            Ok(((self.status)(&value), json))
        });
        match written {
            Ok((_, json)) if json == b"null" => HttpResponse::NoContent().finish(),
            Ok((status, json)) => HttpResponse::build(status).content_type("application/json").body(json),
            Err(error) => HttpResponse::from_error(Failure::from(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;

    fn client(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let found = client_address(peer.parse().ok(), forwarded.iter().copied(), &trusted);
        found.map(|address| address.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_not_trusted() {
        let ours = &["10.0.0.0/8", "fd00::/8"][..];
        for (peer, forwarded, trusted, expected) in [
            ("203.0.113.9", &[][..], &[][..], "203.0.113.9"),
            // Whoever is no proxy of ours may write what they like.
            ("203.0.113.9", &["198.51.100.1"], ours, "203.0.113.9"),
            ("10.0.0.2", &["198.51.100.1"], &[], "10.0.0.2"),
            ("10.0.0.2", &["198.51.100.1"], ours, "198.51.100.1"),
            ("10.0.0.2", &["1.1.1.1, 198.51.100.1"], ours, "198.51.100.1"),
            ("10.0.0.2", &["1.1.1.1, 198.51.100.1, 10.0.0.3"], ours, "198.51.100.1"),
            ("10.0.0.2", &["1.1.1.1", "198.51.100.1", "10.0.0.3"], ours, "198.51.100.1"),
            ("10.0.0.2", &["10.0.0.4,10.0.0.3"], ours, "10.0.0.4"),
            ("10.0.0.2", &["1.1.1.1, unknown"], ours, "10.0.0.2"),
            ("10.0.0.2", &["198.51.100.1:4711"], ours, "198.51.100.1"),
            ("fd00::2", &["[2001:db8::1]:4711"], ours, "2001:db8::1"),
            ("fd00::2", &["[2001:db8::1]"], ours, "2001:db8::1"),
            ("::ffff:10.0.0.2", &["198.51.100.1"], ours, "198.51.100.1"),
        ] {
            assert_eq!(client(peer, forwarded, trusted), expected, "{peer} {forwarded:?}");
        }
        assert_eq!(client_address(None, [].into_iter(), &[]), None);
    }

    #[test]
    fn request_ids_are_taken_over_if_they_are_sane() {
        let sent = |id: &str| {
            let req = TestRequest::default().insert_header(("X-Request-Id", id)).to_http_request();
            RequestId::sent(req.headers()).is_some()
        };
        assert!(sent("01990000-0000.A_z"));
        for bad in ["", "a b", "a\"b", "é", &"a".repeat(65)] {
            assert!(!sent(bad), "{bad}");
        }
    }

    #[test]
    fn only_bearer_tokens_are_tokens() {
        let token = |value: &str| {
            let req = TestRequest::default().insert_header(("Authorization", value)).to_http_request();
            bearer(req.headers()).map(|token| token.map(str::to_owned)).map_err(|error| error.code())
        };
        assert_eq!(token("bearer abc"), Ok(Some("abc".to_owned())));
        assert_eq!(token("Basic abc"), Err(ErrorCode::AuthUnauthenticated));
        assert_eq!(token("abc"), Err(ErrorCode::AuthUnauthenticated));
        assert!(matches!(bearer(TestRequest::default().to_http_request().headers()), Ok(None)));
    }

    #[test]
    fn an_idempotency_key_is_a_client_id() {
        let key = |header: Option<&str>, body: Option<&str>| {
            IdempotencyKey(header.map(unquoted)).or(body.map(str::to_owned)).map_err(|error| error.code())
        };
        assert_eq!(key(None, None), Ok(None));
        assert_eq!(key(Some("\"a\""), None), Ok(Some("a".to_owned())));
        assert_eq!(key(Some("a"), Some("a")), Ok(Some("a".to_owned())));
        assert_eq!(key(None, Some("b")), Ok(Some("b".to_owned())));
        assert_eq!(key(Some("a"), Some("b")), Err(ErrorCode::RequestInvalid));
    }

    #[test]
    fn what_is_no_id_names_nothing() {
        let parse = |text: &str| text.parse().unwrap_or(ConversationId::NOTHING);
        assert_eq!(parse("../etc"), ConversationId::NOTHING);
        assert_ne!(parse("01990000-0000-7000-8000-000000000001"), ConversationId::NOTHING);
    }

    #[test]
    fn bodies_are_json_of_a_bounded_length() {
        let expect = |media_type: &str, length: &str| {
            let headers = [("Content-Type", media_type), ("Content-Length", length)];
            let req = headers.into_iter().fold(TestRequest::default(), TestRequest::insert_header).to_http_request();
            expect_json(req.headers(), 10).err().map(|error| error.code())
        };
        assert_eq!(expect("application/json", "10"), None);
        assert_eq!(expect("Application/JSON; charset=utf-8", "10"), None);
        assert_eq!(expect("application/json", "11"), Some(ErrorCode::RequestTooLarge));
        assert_eq!(expect("text/plain", "1"), Some(ErrorCode::RequestUnsupportedMediaType));
        assert_eq!(expect("", "1"), Some(ErrorCode::RequestUnsupportedMediaType));
    }
}
