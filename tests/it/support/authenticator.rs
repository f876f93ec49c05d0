//! Somebody's authenticator app.
//! Never a code that it would not show.

use super::{Duration, Node, secs};
use actors::clock::Clock;
use entities::Timestamp;
use serde_json::Value;
use totp_rs::{Builder, Secret, Totp};

/// It goes from code to code in this.
pub const STEP: Duration = secs(30);

/// An app that holds one secret.
pub struct Authenticator(Totp);

impl Authenticator {
    /// With the secret that `auth.setup2fa` has answered.
    pub fn of(setup: &Value) -> Authenticator {
        let secret = Secret::try_from_base32(setup["secret"].as_str().unwrap()).unwrap();
        Authenticator(Builder::new().with_secret(secret).build().unwrap())
    }

    /// What it shows so many steps from now.
    pub fn shows(&self, node: &Node, steps: i64) -> String {
        self.shows_at(node.clock.now(), steps)
    }

    /// What it shows so many steps from this moment.
    pub fn shows_at(&self, now: Timestamp, steps: i64) -> String {
        self.0.generate(u64::try_from(now.millis() / 1000 + 30 * steps).unwrap()).to_string()
    }
}
