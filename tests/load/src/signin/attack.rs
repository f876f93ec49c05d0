//! Many who guess at one account, from many addresses: whether any gets in, what the node computes for them, how much
//! memory it takes, and whether the owner still gets in.
//! Never a limit of the node's own raised for it: what delays tries is as it ships.

use super::client::Client;
use super::medians::{PASSWORD, register};
use super::{LANES, MUST_GROW, Row, SETTINGS, address, codes, number, rate};
use crate::compare::server::{Bench, Server};
use crate::stats::Procs;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

const OWNER: usize = 3_000_000;
const NAME: &str = "the_owner";
/// Strangers' addresses begin here.
const STRANGERS: usize = 1 << 16;

/// All of it, on a node that was just started.
pub async fn measure(bench: &Bench, data: &Path) -> Result<Vec<Row>> {
    let tries = if bench.quick() { 1000 } else { 10_000 };
    let before = bench.start_node_with(data, &SETTINGS)?;
    register(&mut Client::open(before.addr).await?, &before, OWNER, NAME).await?;
    before.kill()?;

    // It has computed no hash yet, and its caches are as they were at the start.
    let server = bench.start_node_with(data, &SETTINGS)?;
    let procs = Procs(vec![server.pid()]);
    let verification = warmed_up(&server).await?;
    let (start, peak) = (procs.rss(), Cell::new(0));
    let answers = RefCell::new(BTreeMap::<String, usize>::new());
    let began = Instant::now();
    rate(&server, tries, async |client, index| {
        let from = address(STRANGERS + index * 7 % 2000);
        let answer = match index / LANES % 2 {
            0 => {
                let body = json!({ "identifier": NAME, "password": format!("a guess, number {index}") });
                client.post("/auth/login", from, &body).await?
            }
            _ => {
                let body = json!({ "verificationId": verification, "code": format!("{index:06}") });
                client.post("/auth/verify-otp", from, &body).await?
            }
        };
        ensure!(answer.status >= 400, "a stranger got in: {}", answer.body);
        *answers.borrow_mut().entry(answer.code().to_owned()).or_default() += 1;
        if index % 100 == 0 {
            peak.set(procs.rss().max(peak.get()));
        }
        Ok(())
    })
    .await?;
    let took = began.elapsed().as_secs_f64();
    let grown = procs.rss().max(peak.get()).saturating_sub(start);
    owner_gets_in(&server).await?;
    server.kill()?;

    let answers = answers.into_inner();
    let hashes = answers.get("auth.credentials_invalid").copied().unwrap_or_default();
    // Six until the first delay has begun, and then one when each has passed: 1 s, 2 s, 4 s ...
    let most = 6 + took.log2().ceil().max(0.0) as usize + 1;
    let said: Vec<String> = answers.iter().map(|(code, count)| format!("{count} {code}")).collect();
    Ok(vec![
        Row {
            what: format!("{tries} wrong tries against one account in {took:.1} s; the owner gets in"),
            measured: said.join(", "),
            must: "none gets in".to_owned(),
            reached: true,
        },
        Row {
            what: "hashes computed for them".to_owned(),
            measured: hashes.to_string(),
            must: format!("{most} at most"),
            reached: hashes <= most,
        },
        Row {
            what: "memory that the node grew by, from before its first hash".to_owned(),
            measured: format!("{:.1} MiB", grown as f64 / (1 << 20) as f64),
            must: format!("{} MiB at most", MUST_GROW >> 20),
            reached: grown <= MUST_GROW,
        },
    ])
}

/// Somebody signs in by a code, often enough that all threads have served something; gives a verification of the
/// owner's number that a stranger asked for.
async fn warmed_up(server: &Server) -> Result<String> {
    rate(server, 2000, async |client, index| {
        let body = json!({ "verificationId": "AAAAAAAAAAAAAAAAAAAAAA", "code": "123456" });
        client.post("/auth/verify-otp", address(STRANGERS + index), &body).await.map(drop)
    })
    .await?;
    let mut client = Client::open(server.addr).await?;
    let sent =
        client.post("/auth/send-otp", address(STRANGERS), &json!({ "phoneNumber": number(OWNER) })).await?.ok()?;
    Ok(sent["verificationId"].as_str().context("no verification")?.to_owned())
}

/// At home with the password, and anywhere with a code.
async fn owner_gets_in(server: &Server) -> Result<()> {
    let mut client = Client::open(server.addr).await?;
    let body = json!({ "identifier": NAME, "password": PASSWORD });
    client.post("/auth/login", address(OWNER), &body).await?.ok()?;
    let elsewhere = address(OWNER + 1);
    let sent = client.post("/auth/send-otp", elsewhere, &json!({ "phoneNumber": number(OWNER) })).await?.ok()?;
    let id = sent["verificationId"].as_str().context("no verification")?;
    let codes = codes(server.log())?;
    let body = json!({ "verificationId": id, "code": codes.get(id).context("a code that was not printed")? });
    client.post("/auth/verify-otp", elsewhere, &body).await?.ok().map(drop)
}
