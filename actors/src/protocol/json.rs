//! Reading a command's JSON.
//! Never a value's meaning: only whether it has the shape.

use super::error::{Error, ErrorCode, Outcome, Refusal};
use serde::de::DeserializeOwned;

/// Reads a value; what is wrong is refused by the field's name.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Outcome<T> {
    // The quick reader first; the one that knows where it is only for those that fail.
    serde_json::from_slice(json).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_slice(json);
        serde_path_to_error::deserialize(&mut reader).map_err(|error| refuse(&error))
    })
}

fn refuse(error: &serde_path_to_error::Error<serde_json::Error>) -> Error {
    let inner = error.inner();
    if inner.is_syntax() || inner.is_eof() || inner.is_io() {
        return ErrorCode::RequestMalformed.into();
    }
    let text = inner.to_string();
    let message = text.split(" at line ").next().unwrap_or_default().to_owned();
    let path = error.path().to_string();
    // A missing field is reported at its parent; serde names it in backquotes.
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let field = match (missing, path.as_str()) {
        (Some(name), ".") => name.to_owned(),
        (Some(name), parent) => format!("{parent}.{name}"),
        (None, ".") => return Refusal::new(ErrorCode::RequestMalformed).saying(message).into(),
        (None, path) => path.to_owned(),
    };
    Refusal::invalid(field, message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::{CreateConversation, SendMessage};

    fn refusal<T: DeserializeOwned>(json: &str) -> (ErrorCode, String) {
        match read::<T>(json.as_bytes()) {
            Err(Error::Refused(refusal)) => (refusal.code, refusal.field.unwrap_or_default().into_owned()),
            _ => (ErrorCode::ServerUnavailable, String::new()),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let id = "01990000-0000-7000-8000-000000000001";
        let no_text = format!(r#"{{"conversationId":"{id}","clientId":"1"}}"#);
        assert_eq!(refusal::<SendMessage>(&no_text), (ErrorCode::RequestInvalid, "text".into()));
        let mistyped = format!(r#"{{"conversationId":"{id}","clientId":7,"text":"x"}}"#);
        assert_eq!(refusal::<SendMessage>(&mistyped), (ErrorCode::RequestInvalid, "clientId".into()));
        let no_id = r#"{"conversationId":"x","clientId":"7","text":"x"}"#;
        assert_eq!(refusal::<SendMessage>(no_id), (ErrorCode::RequestInvalid, "conversationId".into()));
        let deep = r#"{"kind":"group","participantIds":["x"]}"#;
        assert_eq!(refusal::<CreateConversation>(deep), (ErrorCode::RequestInvalid, "participantIds[0]".into()));
        for malformed in ["", "{", "[]", "7", "nonsense"] {
            assert_eq!(refusal::<SendMessage>(malformed).0, ErrorCode::RequestMalformed, "{malformed}");
        }
    }
}
