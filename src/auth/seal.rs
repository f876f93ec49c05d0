//! AES-256-GCM under one key: what is sealed opens with that key, and in its context, alone.
//! Never where a key comes from, or how long it is used: see `keys` and `sealing`.

use actors::clock::Clock;
use actors::protocol::{Fault, Outcome};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// One key.
pub struct Seal(LessSafeKey);

impl Seal {
    /// A key of 32 bytes.
    ///
    /// # Errors
    /// A fault, where it has another length.
    pub fn new(key: &[u8]) -> Outcome<Seal> {
        let key = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Fault::new("a sealing key has not 32 bytes"))?;
        Ok(Seal(LessSafeKey::new(key)))
    }

    /// The nonce, what was sealed, and the tag. The nonce is random: good for 2^32 values under one key (NIST SP 800-38D,
    /// 8.3).
    ///
    /// # Errors
    /// A fault of the library.
    pub fn seal(&self, context: &[u8], plain: &[u8], clock: &dyn Clock) -> Outcome<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = clock.random();
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .map_err(|_| Fault::new("sealing failed"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// What was sealed for this context.
    ///
    /// # Errors
    /// A fault: it was sealed with another key, or for another context, or is not what was sealed.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Outcome<Vec<u8>> {
        let wrong = || Fault::new("what was sealed does not open: another secrets.master, or another context");
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or_else(wrong)?;
        let mut bytes = rest.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.0.open_in_place(nonce, Aad::from(context), &mut bytes).map_err(|_| wrong())?.len();
        bytes.truncate(opened);
        Ok(bytes)
    }
}
