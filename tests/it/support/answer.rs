//! What a door answered to a command: the reply, or the refusal with its code.
//! Never which door: both say the same.

use super::ErrorCode;
use serde_json::Value;

/// An answer, of whichever door.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status, by REST.
    pub status: Option<u16>,
    /// The reply, or the error's object.
    pub result: Result<Value, Value>,
}

impl Answer {
    /// The reply.
    #[track_caller]
    pub fn ok(self) -> Value {
        match self.result {
            Ok(reply) => reply,
            Err(error) => panic!("refused: {error}"),
        }
    }

    /// The reply, of a request that REST answers with this status.
    #[track_caller]
    pub fn ok_with(self, status: u16) -> Value {
        if let Some(answered) = self.status {
            assert_eq!(answered, status, "{:?}", self.result);
        }
        self.ok()
    }

    /// The error's object, whatever its code.
    #[track_caller]
    pub fn error(self) -> Value {
        match self.result {
            Ok(reply) => panic!("not refused: {reply}"),
            Err(error) => error,
        }
    }

    /// It was refused with this code.
    #[track_caller]
    pub fn is_refused(&self, code: ErrorCode) -> Value {
        let status = self.status;
        let error = self.clone().error();
        assert_eq!(error["code"], code.as_str(), "{error}");
        assert_eq!(error["retryable"], code.retryable(), "{error}");
        assert!(error["requestId"].as_str().is_some_and(|id| !id.is_empty()), "{error}");
        if let Some(status) = status {
            assert_eq!(status, code.status(), "{error}");
        }
        error
    }

    /// It was refused with this code, for this field.
    #[track_caller]
    pub fn is_refused_for(&self, code: ErrorCode, field: &str) -> Value {
        let error = self.is_refused(code);
        assert_eq!(error["field"], field, "{error}");
        error
    }

    /// What a client acts on: the code and the field. Two refusals that agree in it are the same to whoever asks.
    #[track_caller]
    pub fn gist(self) -> Value {
        let mut error = self.error();
        for own in ["requestId", "instance"] {
            error.as_object_mut().unwrap().remove(own);
        }
        error
    }
}
