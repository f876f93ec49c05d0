//! `quckchat admin rotate-keys`: new keys in place of the old ones, while nodes are serving, and what that came to.
//! Never how keys overlap: `auth::keys` and `auth::sealing` see to that.

use super::AdminError;
use crate::auth::keys::{self, Keys};
use crate::auth::sealing::{Ring, Rotation, Tidied};
use crate::auth::secrets::Secrets;
use crate::config::Config;
use actors::clock::Clock;
use actors::protocol::{Error, Fault};
use entities::Db;
use std::io::Write;
use std::sync::Arc;

/// Which keys are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Which {
    /// The pair that signs access tokens.
    pub signing: bool,
    /// What seals secrets in rows.
    pub sealing: bool,
}

/// Makes new keys, and prints what that came to. Nodes take them up by themselves. Twice at once is once.
///
/// # Errors
/// `AdminError`; among them that the master secret is another one than the nodes'.
pub async fn rotate_keys(
    config: &Config,
    db: &Db,
    clock: Arc<dyn Clock>,
    which: Which,
    out: &mut impl Write,
) -> Result<(), AdminError> {
    let secrets = Secrets::open(config, &*clock).map_err(|error| Error::from(Fault::new(error)))?;
    // Both are opened before either is replaced: a wrong secret changes nothing.
    let keys = Keys::open(db.clone(), clock.clone(), &secrets).await?;
    let ring = Ring::open(db.clone(), clock, &secrets).await?;
    if which.signing {
        let rotation = keys.rotate(config.auth.access_ttl).await?;
        writeln!(out, "signing: {}", said_of_signing(&rotation))?;
    }
    if which.sealing {
        let rotation = ring.rotate().await?;
        let tidied = ring.tidy().await?;
        writeln!(out, "sealing: {}", said_of_sealing(&rotation, tidied))?;
    }
    Ok(out.flush()?)
}

fn said_of_signing(rotation: &keys::Rotation) -> String {
    let keys::Rotation { kid, is_new, signs_at, others_end_at } = rotation;
    match is_new {
        true => format!("{kid} was made; it signs from {signs_at}, and those before it count until {others_end_at}"),
        false => format!("{kid} was made less than two minutes ago; nothing was done"),
    }
}

fn said_of_sealing(rotation: &Rotation, tidied: Tidied) -> String {
    let made = if rotation.is_new { "was made" } else { "was made less than two minutes ago, and stays" };
    let mut said = format!("{} {made}; values sealed anew: {}", rotation.name, tidied.resealed);
    if tidied.removed > 0 {
        said += &format!("; older keys removed: {}", tidied.removed);
    }
    if tidied.kept > 0 {
        said += &format!("; older keys that stay until no node can use them: {} (nodes see to that)", tidied.kept);
    }
    if tidied.failed > 0 {
        said += &format!("; values that do not open, and keep their keys: {}", tidied.failed);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{FakeClock, Scratch};
    use entities::{sealing_key, signing_key};
    use sea_orm::{EntityTrait, PaginatorTrait};
    use std::time::Duration;

    #[actix_web::test]
    async fn keys_are_replaced_and_it_is_said_how() {
        for scratch in Scratch::each().await {
            let (clock, folder) = (FakeClock::new(), tempfile::tempdir().unwrap());
            let mut config = Config::shipped().unwrap();
            config.data = folder.path().to_owned();
            let rotate = async |config: &Config, signing, sealing| {
                let mut out = Vec::new();
                let which = Which { signing, sealing };
                rotate_keys(config, &scratch.db, clock.clone(), which, &mut out)
                    .await
                    .map(|()| String::from_utf8(out).unwrap())
            };
            let counts = async || {
                let signing = signing_key::Entity::find().count(scratch.db.read()).await.unwrap();
                (signing, sealing_key::Entity::find().count(scratch.db.read()).await.unwrap())
            };
            assert!(rotate(&config, true, true).await.unwrap().contains("nothing was done"));
            assert_eq!(counts().await, (1, 1));
            clock.advance(Duration::from_secs(600));
            let said = rotate(&config, true, false).await.unwrap();
            assert!(
                said.starts_with("signing: ") && said.contains("it signs from 2026-") && said.lines().count() == 1,
                "{said}"
            );
            assert_eq!(counts().await, (2, 1));
            let said = rotate(&config, false, true).await.unwrap();
            assert!(said.starts_with("sealing: ") && said.contains("older keys that stay"), "{said}");
            assert_eq!(counts().await, (2, 2));
            clock.advance(Duration::from_secs(3600));
            assert!(rotate(&config, true, true).await.unwrap().contains("older keys removed: 1"));

            let mut other = config.clone();
            other.data = folder.path().join("elsewhere");
            let before = counts().await;
            assert!(rotate(&other, true, true).await.unwrap_err().to_string().contains("secrets.master: "));
            assert_eq!(counts().await, before);
            scratch.drop().await;
        }
    }
}
