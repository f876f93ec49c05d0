//! Checks of access tokens a second, on one core: at first sight, and remembered. `cargo bench --bench tokens`.

use actors::clock::{Clock, SystemClock};
use entities::{Db, Options};
use quckchat::auth::keys::Keys;
use quckchat::auth::{Secrets, Tokens};
use quckchat::config::Config;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TOKENS: usize = 20_000;
const FOR: Duration = Duration::from_secs(3);

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let config = Config::shipped()?;
    let db = Db::open(&Options::new(format!("sqlite://{}", folder.path().join("bench.db").display()))).await?;
    migration::migrate(db.write()).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let keys = || async { Keys::open(db.clone(), clock.clone(), &Secrets::from_master(&[7; 48])).await };
    let issuer = Tokens::new(keys().await?, clock.clone(), &config.auth);
    let given: Vec<String> =
        (0..TOKENS).map(|_| issuer.issue(clock.user_id(), clock.session_id())).collect::<Result<_, _>>()?;

    // Another one has seen none of them.
    let tokens = Tokens::new(keys().await?, clock.clone(), &config.auth);
    let began = Instant::now();
    for token in &given {
        tokens.verify(token, clock.now())?;
    }
    let first = TOKENS as f64 / began.elapsed().as_secs_f64();

    let (began, mut checked) = (Instant::now(), 0_u64);
    while began.elapsed() < FOR {
        for token in given.iter().take(1000) {
            tokens.verify(token, clock.now())?;
            checked += 1;
        }
    }
    let again = checked as f64 / began.elapsed().as_secs_f64();
    let mut out = std::io::stdout();
    writeln!(out, "| checks of access tokens, one core | a second | must |\n|---|---|---|")?;
    writeln!(out, "| at first sight | {first:.0} | 8000 |\n| remembered | {again:.0} | 300000 |")?;
    Ok(())
}
