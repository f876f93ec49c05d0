//! The links by which copies are fetched: signed, and good for a time.
//! Never a copy: whether it is there is its row's to say.
//!
//! # Why a signature
//! A browser that saves a file sends no token, and a token in a URL would open everything. This opens one copy.

use actors::protocol::{ErrorCode, Outcome};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use entities::{ExportId, Timestamp};

/// Signs links, and knows its own again.
pub struct Links(hmac::Key);

impl Links {
    /// With the key that all nodes share.
    pub fn new(key: &[u8; 32]) -> Links {
        Links(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Where a copy is, on this host, until then.
    pub fn to(&self, export: ExportId, until: Timestamp) -> String {
        let expires = until.millis().div_euclid(1000);
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &signed(export, expires)));
        format!("/api/v1/exports/{export}/download?expires={expires}&signature={signature}")
    }

    /// Whether this node's key has signed this, and it is not over.
    ///
    /// # Errors
    /// `user.export_not_found` for what was not signed, `user.export_expired` for what was, and is over.
    pub fn check(&self, export: ExportId, expires: i64, signature: &str, now: Timestamp) -> Outcome<()> {
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| ErrorCode::UserExportNotFound)?;
        // Compares in constant time.
        hmac::verify(&self.0, &signed(export, expires), &signature).map_err(|_| ErrorCode::UserExportNotFound)?;
        match now.millis().div_euclid(1000) < expires {
            true => Ok(()),
            false => Err(ErrorCode::UserExportExpired.into()),
        }
    }
}

fn signed(export: ExportId, expires: i64) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(export.uuid().as_bytes());
    bytes[16..].copy_from_slice(&expires.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn code(outcome: Outcome<()>) -> Option<ErrorCode> {
        outcome.err().map(|error| error.code())
    }

    /// What stands in a link.
    fn parts(link: &str) -> (i64, String) {
        let (_, query) = link.split_once("?expires=").unwrap();
        let (expires, signature) = query.split_once("&signature=").unwrap();
        (expires.parse().unwrap(), signature.to_owned())
    }

    #[test]
    fn a_link_opens_one_copy_until_its_time_is_over() {
        let (links, others) = (Links::new(&[1; 32]), Links::new(&[2; 32]));
        let [one, other] = [1, 2].map(|number| ExportId::from_uuid(Uuid::from_u128(number)));
        let until = Timestamp::from_millis(5_000);
        let (expires, signature) = parts(&links.to(one, until));
        let (before, not_found) = (Timestamp::from_millis(4_999), Some(ErrorCode::UserExportNotFound));
        assert_eq!(code(links.check(one, expires, &signature, before)), None);
        assert_eq!(code(links.check(one, expires, &signature, until)), Some(ErrorCode::UserExportExpired));
        assert_eq!(code(links.check(other, expires, &signature, before)), not_found);
        assert_eq!(code(links.check(one, expires + 1, &signature, before)), not_found);
        assert_eq!(code(others.check(one, expires, &signature, before)), not_found);
        // Also where it would be over: nothing is told of what was not signed.
        for bad in ["", "x", &signature[1..], &format!("{signature}A"), "../../etc/passwd", "\u{e9}"] {
            assert_eq!(code(links.check(one, expires, bad, until)), not_found, "{bad}");
        }
    }
}
