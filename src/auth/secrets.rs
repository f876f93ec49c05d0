//! The master secret, and the keys that are derived from it, one for each use.
//! Never the same key for two uses.

use crate::config::Config;
use actors::clock::Clock;
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Keeps keys of this program apart from those that something else derives from the same secret.
const SALT: &[u8] = b"quckchat v1";
/// The file in the data folder, where the configuration names no secret.
const FILE: &str = "master.key";

/// Keys for the hashes of backup codes.
pub const BACKUP_CODES: &str = "backup codes";
/// Keys for the hashes of phone numbers in address books.
pub const CONTACT_NUMBERS: &str = "contact numbers";
/// Keys for one-time codes.
pub const OTP_CODES: &str = "otp codes";
/// Keys for the hashes that tell a repeated request from another one.
pub const REQUEST_HASHES: &str = "request hashes";
/// Keys for what is noted of those who sign in in vain.
pub const SIGN_IN_DELAYS: &str = "sign-in delays";
/// Keys under which the key ring's keys are sealed.
pub const SEALING_KEYS: &str = "sealing keys";
/// Keys for the names under which tries of second factors are counted.
pub const SECOND_FACTOR_TRIES: &str = "second factor tries";
/// Keys under which signing keys are sealed.
pub const SIGNING_KEYS: &str = "signing keys";
/// Keys for the links to copies of people's data.
pub const EXPORT_LINKS: &str = "export links";

/// What every key of the node comes from.
pub struct Secrets {
    /// HKDF's pseudorandom key (RFC 5869).
    root: hmac::Key,
    /// Whether it is of the file in the data folder.
    pub is_of_file: bool,
}

impl Secrets {
    /// The configured secret, or the one in the data folder, which is made if it is missing.
    ///
    /// # Errors
    /// Those of the file.
    pub fn open(config: &Config, clock: &dyn Clock) -> io::Result<Secrets> {
        let configured = &config.secrets.master;
        if !configured.is_empty() {
            return Ok(Secrets::from_master(configured.expose().as_bytes()));
        }
        let text = read_or_make(&config.data, clock)?;
        Ok(Secrets { is_of_file: true, ..Secrets::from_master(text.as_bytes()) })
    }

    /// The keys that come from this secret.
    pub fn from_master(master: &[u8]) -> Secrets {
        let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SALT), master);
        Secrets { root: hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()), is_of_file: false }
    }

    /// The key for one use: HKDF-Expand, of which a single block is needed.
    pub fn derive(&self, label: &str) -> [u8; 32] {
        let mut block = hmac::Context::with_key(&self.root);
        block.update(label.as_bytes());
        block.update(&[1]);
        let mut key = [0; 32];
        key.copy_from_slice(block.sign().as_ref());
        key
    }
}

fn read_or_make(folder: &Path, clock: &dyn Clock) -> io::Result<String> {
    let path = folder.join(FILE);
    if !path.try_exists()? {
        fs::create_dir_all(folder)?;
        let made = make(folder, &path, clock);
        // Another process may have been first: its file counts.
        if let Err(err) = made.or_else(|err| if path.exists() { Ok(()) } else { Err(err) }) {
            return Err(io::Error::new(err.kind(), format!("cannot make {}: {err}", path.display())));
        }
    }
    if fs::metadata(&path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    }
    let text = fs::read_to_string(&path)?.trim().to_owned();
    if text.len() < 32 {
        return Err(io::Error::other(format!("{} holds no master secret", path.display())));
    }
    Ok(text)
}

/// Writes the file beside its place and links it there: it appears whole, and never over another one.
fn make(folder: &Path, path: &Path, clock: &dyn Clock) -> io::Result<()> {
    let beside = folder.join(format!("{FILE}.{}", clock.uuid().simple()));
    let written = write(&beside, &STANDARD.encode(clock.random::<32>())).and_then(|()| fs::hard_link(&beside, path));
    fs::remove_file(&beside)?;
    written?;
    File::open(folder)?.sync_all()
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::clock::SystemClock;

    fn config(folder: &Path) -> Config {
        let mut config = Config::shipped().unwrap();
        config.data = folder.join("made/on/the/way");
        config
    }

    #[test]
    fn keys_are_those_of_hkdf() {
        // Against the other implementation that we have: aws-lc-rs's own HKDF.
        use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
        let prk = Salt::new(HKDF_SHA256, SALT).extract(b"a master secret");
        let mut expected = [0; 32];
        prk.expand(&[b"otp codes"], HKDF_SHA256).unwrap().fill(&mut expected).unwrap();
        assert_eq!(Secrets::from_master(b"a master secret").derive(OTP_CODES), expected);
        assert_ne!(Secrets::from_master(b"a master secret").derive(SIGNING_KEYS), expected);
    }

    #[test]
    fn the_file_is_made_once_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        let clock: &dyn Clock = &SystemClock::default();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let open = || Secrets::open(&config, clock).unwrap().derive(OTP_CODES);
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        let files: Vec<_> = fs::read_dir(&config.data).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_without_a_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path());
        fs::create_dir_all(&config.data).unwrap();
        fs::write(config.data.join(FILE), "\n").unwrap();
        assert!(Secrets::open(&config, &SystemClock::default()).is_err());
    }
}
