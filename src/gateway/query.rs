//! Query strings: parameters as the typed fields of a request.
//! Never a value's range: the command says that.

use super::error::Failure;
use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use actors::protocol::json::mistyped;
use actors::protocol::{ErrorCode, Outcome};
use serde::de::value::{Error as PlainError, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor};
use std::future::{Ready, ready};

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

#[cfg(test)]
mod tests {
    use super::*;
    use actors::protocol::Error;
    use actors::protocol::command::{ConversationsByUser, GetPresence, SearchUsers};

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
}
