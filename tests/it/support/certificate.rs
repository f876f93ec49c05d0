//! Certificates of a story's own, and where servers and nodes find them.
//! Never who trusts them.

use std::path::{Path, PathBuf};

/// A certificate for this machine that vouches for itself, and its key.
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The files that they are in.
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pair {
    pub fn new() -> Pair {
        let names = ["localhost", "127.0.0.1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Puts it into a folder of its own, or where another one was.
    pub fn is_put(&self, folder: &Path) -> Files {
        let files = Files { certificate: folder.join("certificate.pem"), key: folder.join("key.pem") };
        std::fs::write(&files.certificate, &self.certificate).unwrap();
        std::fs::write(&files.key, &self.key).unwrap();
        files
    }
}

impl Files {
    /// What tells a node of them.
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [
            ("QUCKCHAT__GATEWAY__TLS_CERTIFICATE", self.certificate.to_str().unwrap()),
            ("QUCKCHAT__GATEWAY__TLS_KEY", self.key.to_str().unwrap()),
        ]
    }
}
