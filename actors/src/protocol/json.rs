//! Reading a command's JSON.
//! Never a value's meaning: only whether it has the shape.

use super::error::{Error, ErrorCode, Outcome, Refusal};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

/// Reads a JSON object; what is wrong with it is refused by the field's name. `null` is an object without fields.
pub fn read<T: DeserializeOwned>(json: &[u8]) -> Outcome<T> {
    let json = match json.trim_ascii() {
        b"null" => b"{}",
        json => json,
    };
    // Serde would take an array too, field by field.
    if json.first() != Some(&b'{') {
        return Err(ErrorCode::RequestMalformed.into());
    }
    // The quick reader first; the one that knows where it is only for those that fail.
    serde_json::from_slice(json).or_else(|_| {
        let mut reader = serde_json::Deserializer::from_slice(json);
        let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| match error.inner().classify() {
            Category::Data => mistyped(&error.path().to_string(), &error.inner().to_string()),
            Category::Syntax | Category::Eof | Category::Io => ErrorCode::RequestMalformed.into(),
        })?;
        reader.end().map_err(|_| ErrorCode::RequestMalformed)?;
        Ok(value)
    })
}

/// The refusal of a value by what serde says: `path` to where it was, `.` at the top, and `message`.
pub fn mistyped(path: &str, message: &str) -> Error {
    let message = message.split(" at line ").next().unwrap_or_default();
    // What is missing or given twice is reported at its parent; serde names it in backquotes.
    let named = ["missing field `", "duplicate field `"].iter().find_map(|said| message.strip_prefix(said));
    let named = named.and_then(|rest| rest.split('`').next());
    let field = match (named, path) {
        (Some(name), ".") => name.to_owned(),
        (Some(name), parent) => format!("{parent}.{name}"),
        (None, ".") => return Refusal::new(ErrorCode::RequestMalformed).saying(shortened(message)).into(),
        (None, path) => path.to_owned(),
    };
    Refusal::invalid(field, shortened(message)).into()
}

/// Serde quotes what was sent, however long it is.
fn shortened(message: &str) -> String {
    const MOST: usize = 200;
    if message.len() <= MOST {
        return message.to_owned();
    }
    format!("{}...", &message[..message.floor_char_boundary(MOST)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::command::{ConversationsByUser, EditMessage, GetPresence, SendMessage, VerifyOtp};

    fn refused<T: DeserializeOwned>(json: impl AsRef<[u8]>) -> (ErrorCode, Option<String>) {
        match read::<T>(json.as_ref()) {
            Err(Error::Refused(refusal)) => (refusal.code, refusal.field.map(|field| field.into_owned())),
            _ => panic!("not refused"),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let id = "01990000-0000-7000-8000-000000000001";
        for (json, field) in [
            (r#"{}"#.to_owned(), "conversationId"),
            ("null".to_owned(), "conversationId"),
            (r#"{"conversationId":7,"text":"x","clientId":"c"}"#.to_owned(), "conversationId"),
            (r#"{"conversationId":"x","text":"x","clientId":"c"}"#.to_owned(), "conversationId"),
            (format!(r#"{{"conversationId":"{id}","text":["x"],"clientId":"c"}}"#), "text"),
            (format!(r#"{{"conversationId":"{id}","text":"x"}}"#), "clientId"),
            (format!(r#"{{"conversationId":"{id}","text":"x","text":"y","clientId":"c"}}"#), "text"),
        ] {
            let invalid = (ErrorCode::RequestInvalid, Some(field.to_owned()));
            assert_eq!(refused::<SendMessage>(&json), invalid, "{json}");
        }
        let device = r#"{"verificationId":"v","code":"123456","device":{"name":1}}"#;
        assert_eq!(refused::<VerifyOtp>(device), (ErrorCode::RequestInvalid, Some("device.name".to_owned())));
        let second = format!(r#"{{"userIds":["{id}",2]}}"#);
        assert_eq!(refused::<GetPresence>(second), (ErrorCode::RequestInvalid, Some("userIds[1]".to_owned())));
    }

    #[test]
    fn what_is_no_json_object_is_malformed() {
        let cut = r#"{"text":"x""#;
        let array = r#"["01990000-0000-7000-8000-000000000001","x","c"]"#;
        let trailing = r#"{"userIds":[]} x"#;
        for json in ["", "x", "7", cut, array] {
            assert_eq!(refused::<SendMessage>(json), (ErrorCode::RequestMalformed, None), "{json}");
        }
        assert_eq!(refused::<GetPresence>(trailing), (ErrorCode::RequestMalformed, None));
        assert_eq!(refused::<EditMessage>(b"{\"text\":\"\xff\"}"), (ErrorCode::RequestMalformed, None));
    }

    #[test]
    fn unknown_fields_are_ignored_and_null_is_absent() {
        let page: ConversationsByUser = read(br#" {"limit":null,"mood":"fine"} "#).unwrap();
        assert_eq!((page.limit, page.cursor), (None, None));
        assert!(read::<ConversationsByUser>(b"null").is_ok());
    }

    #[test]
    fn what_was_sent_is_not_quoted_at_length() {
        let json = format!(r#"{{"messageId":"{}","text":"x"}}"#, "é".repeat(50_000));
        let Err(Error::Refused(refusal)) = read::<EditMessage>(json.as_bytes()) else { panic!("not refused") };
        assert!(refusal.message.len() < 300);
    }
}
