//! What handlers take and give back: the caller, path ids, queries, bodies, and replies with their status.
//! Never enforces access by itself: it reads what the command declares.

use super::dispatch::{mistyped, read};
use super::error::Failure;
use crate::app::App;
use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, Responder, web};
use actors::caller::{Caller, Identity};
use actors::protocol::command::UserRef;
use actors::protocol::{Access, Command, Door, ErrorCode, Fault, Outcome, Refusal, view};
use bytes::BytesMut;
use entities::{ConversationId, MessageId, UserId};
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use ipnet::IpNet;
use serde::Serialize;
use serde::de::value::{Error as PlainError, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
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
    let hops = req.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
    let peer = req.peer_addr().map(|peer| peer.ip());
    client_address(peer, hops, &app.config.gateway.trusted_proxies)
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

/// Who calls the command `C` by REST.
///
/// `C` declares who may. A user's command is refused here if nobody has signed in, before its body is looked at: let it
/// be a handler's first argument. For a public one the token is not looked at, so that a client may refresh while it
/// still sends the old one. Whether the session still stands is the wrapper's to ask.
pub struct Call<C> {
    caller: Caller,
    command: PhantomData<C>,
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
        Access::User => Some(identity(req, app)?.ok_or(ErrorCode::AuthUnauthenticated)?),
    };
    let caller = Caller {
        identity,
        door: Door::Rest,
        address: address(req, app),
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

/// The query string's parameters. A list is written with commas.
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + 'static> FromRequest for Params<T> {
    type Error = Failure;
    type Future = Ready<Result<Params<T>, Failure>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(read_query(req.query_string()).map(Params).map_err(Failure::from))
    }
}

/// Reads a query string; what is wrong is refused by the parameter's name.
pub fn read_query<T: DeserializeOwned>(query: &str) -> Outcome<T> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query).map_err(|_| ErrorCode::RequestMalformed)?;
    let pairs = pairs.into_inner().into_iter().map(|(name, text)| (name, Text(text)));
    serde_path_to_error::deserialize(MapDeserializer::<_, PlainError>::new(pairs))
        .map_err(|error| mistyped(&error.path().to_string(), &error.inner().to_string()))
}

/// A parameter's text, which becomes what its field is: a number, a flag, a list, a text.
struct Text(String);

impl IntoDeserializer<'_, PlainError> for Text {
    type Deserializer = Text;

    fn into_deserializer(self) -> Text {
        self
    }
}

macro_rules! parse {
    ($($method:ident as $type:ident -> $visit:ident, $must:literal;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
            visitor.$visit(self.0.parse::<$type>().map_err(|_| PlainError::custom($must))?)
        })+
    };
}

impl<'de> Deserializer<'de> for Text {
    type Error = PlainError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_string(self.0)
    }

    parse! {
        deserialize_bool as bool -> visit_bool, "must be true or false";
        deserialize_i32 as i32 -> visit_i32, "must be a whole number";
        deserialize_i64 as i64 -> visit_i64, "must be a whole number";
        deserialize_u32 as u32 -> visit_u32, "must be a whole number, not negative";
        deserialize_u64 as u64 -> visit_u64, "must be a whole number, not negative";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, PlainError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PlainError> {
        let parts = self.0.split(',').map(str::trim).filter(|part| !part.is_empty());
        visitor.visit_seq(SeqDeserializer::new(parts.map(|part| Text(part.to_owned()))))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PlainError> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
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
            // The reader skips what it does not know without looking at it; a body is UTF-8 as a whole or it is no JSON.
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
    use actors::protocol::Error;
    use actors::protocol::command::{ConversationsByUser, GetPresence, SearchUsers};

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

    fn query_field<T: DeserializeOwned>(query: &str) -> Option<String> {
        match read_query::<T>(query) {
            Err(Error::Refused(refusal)) => refusal.field.map(|field| field.into_owned()),
            _ => None,
        }
    }

    #[test]
    fn query_parameters_become_what_their_fields_are() {
        let page: ConversationsByUser = read_query("limit=7&cursor=a%20b&other=1").unwrap();
        assert_eq!((page.limit, page.cursor.as_deref()), (Some(7), Some("a b")));
        let id = "01990000-0000-7000-8000-000000000001";
        let users: GetPresence = read_query(&format!("userIds={id},{id}")).unwrap();
        assert_eq!(users.user_ids.len(), 2);
        assert!(read_query::<GetPresence>("userIds=").unwrap().user_ids.is_empty());
    }

    #[test]
    fn query_parameters_are_refused_by_name() {
        assert_eq!(query_field::<SearchUsers>("limit=7").as_deref(), Some("q"));
        assert_eq!(query_field::<SearchUsers>("q=ann&limit=x").as_deref(), Some("limit"));
        assert_eq!(query_field::<SearchUsers>("q=ann&limit=-1").as_deref(), Some("limit"));
        assert_eq!(query_field::<SearchUsers>("q=ann&q=bob").as_deref(), Some("q"));
        assert_eq!(query_field::<GetPresence>("userIds=x").as_deref(), Some("userIds[0]"));
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
