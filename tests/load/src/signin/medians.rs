//! How long the node takes for whom it knows and whom it does not: the medians, in turn, over one connection.
//! Never a look at the answers beyond that they are the same.

use super::client::Client;
use super::{MUST_MEDIANS, Row, SETTINGS, address, codes, number};
use crate::compare::server::{Bench, Server};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Accounts with a password, and as many that there are not.
const ACCOUNTS: usize = 40;
/// Numbers of theirs begin here, and those that nobody has.
const KNOWN: usize = 1_000_000;
const UNKNOWN: usize = 2_000_000;

/// The password of everybody.
pub const PASSWORD: &str = "four lamps over Trondheim";

/// Registers somebody with a password and a username, at an address that is then known.
pub async fn register(client: &mut Client, server: &Server, index: usize, username: &str) -> Result<()> {
    let sent = ask_to_register(client, index).await?;
    let id = sent["verificationId"].as_str().context("no verification")?;
    let codes = codes(server.log())?;
    let code = codes.get(id).context("a code that was not printed")?;
    let body = json!({ "verificationId": id, "code": code, "password": PASSWORD, "username": username });
    client.post("/auth/register", address(index), &body).await?.ok().map(drop)
}

/// Has a code sent to register with; tells of which verification.
async fn ask_to_register(client: &mut Client, index: usize) -> Result<Value> {
    let asked = json!({ "phoneNumber": number(index), "purpose": "register" });
    client.post("/auth/send-otp", address(index), &asked).await?.ok()
}

/// A question about somebody, by index and name.
type Asks = fn(usize, &str) -> Value;

/// The medians of each thing that must not tell whom the node knows.
pub async fn measure(bench: &Bench, data: &Path) -> Result<Vec<Row>> {
    // Nobody is to wait: that would be the same for both, and nothing.
    let mut settings = SETTINGS.to_vec();
    settings.extend([("QUCKCHAT__AUTH__FREE_TRIES", "100"), ("QUCKCHAT__AUTH__FREE_TRIES_PER_ADDRESS", "1000000")]);
    let server = bench.start_node_with(data, &settings)?;
    let mut client = Client::open(server.addr).await?;
    for at in 0..ACCOUNTS {
        register(&mut client, &server, KNOWN + at, &format!("known_{at}")).await?;
        // Nobody has been sent as many codes today: their number, which the budgets count, is not what is measured.
        ask_to_register(&mut client, UNKNOWN + at).await?;
    }
    let rounds = if bench.quick() { 1 } else { 12 };
    let wrong = "a password that is nobodys";
    let asked: [(&str, &str, Asks); 4] = [
        ("password, by number", "/auth/login", |at, _| json!({ "identifier": number(at), "password": "x" })),
        ("password, by name", "/auth/login", |_, name| json!({ "identifier": name, "password": "x" })),
        ("code to sign in", "/auth/send-otp", |at, _| json!({ "phoneNumber": number(at) })),
        ("forgotten password", "/auth/forgot-password", |at, _| json!({ "identifier": number(at) })),
    ];
    let mut rows = Vec::new();
    for (what, path, ask) in asked {
        let mut times = [Vec::new(), Vec::new()];
        for at in 0..rounds * ACCOUNTS {
            // Who comes first changes, so that neither is always the one after the other.
            for turn in [at % 2, (at + 1) % 2] {
                let (base, name) = [(KNOWN, "known"), (UNKNOWN, "nobody")][turn];
                let index = base + at % ACCOUNTS;
                let mut body = ask(index, &format!("{name}_{}", at % ACCOUNTS));
                if body["password"].is_string() {
                    body["password"] = json!(wrong);
                }
                // A place that is new to everybody.
                let from = address(at * 2 + turn + 1);
                let began = Instant::now();
                let answer = client.post(path, from, &body).await?;
                times[turn].push(began.elapsed());
                let as_expected = answer.status == 200 || answer.code() == "auth.credentials_invalid";
                ensure!(as_expected, "{what}: {} {}", answer.status, answer.body);
            }
        }
        rows.push(row(bench, what, times));
    }
    server.kill()?;
    Ok(rows)
}

fn row(bench: &Bench, what: &str, times: [Vec<Duration>; 2]) -> Row {
    let [known, unknown] = times.map(median);
    let apart = (known - unknown).abs() / known.max(unknown);
    Row {
        what: format!("{what}: known and unknown, medians"),
        measured: format!("{known:.3} ms, {unknown:.3} ms: {:.1}% apart", apart * 100.0),
        must: format!("{:.0}% apart", MUST_MEDIANS * 100.0),
        reached: bench.quick() || apart <= MUST_MEDIANS,
    }
}

/// In milliseconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}
