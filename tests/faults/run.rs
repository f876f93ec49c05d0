//! One run: a fleet, a crowd, a fault among them, and the judgement when all is quiet.
//! Never two at once: how long it takes to heal is measured.

use crate::chance::{Chance, asked};
use crate::crowd::Gathering;
use crate::crowd::plan::Size;
use crate::fault::Fault;
use crate::fleet::{self, Fleet};
use crate::history::audit::Audit;
use crate::history::check::{Findings, History, check};
use crate::wait::pause;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// After a fault everybody must have what there is within this.
const HEALS_WITHIN: Duration = Duration::from_secs(10);
/// A run that got less done proves nothing.
const ENOUGH: usize = 100;

/// One fault at a time: the machine is theirs alone.
static ALONE: Mutex<()> = Mutex::const_new(());

/// What came of a run.
struct Outcome {
    acknowledged: usize,
    repeated: u64,
    findings: Findings,
    refused: Vec<String>,
    healed: Result<Duration, String>,
}

/// Tells a fault with each seed that was asked for.
pub async fn tell(fault: Fault) {
    if let Some(package) = fleet::missing() {
        eprintln!("not told: {}: {package} is not installed", fault.name());
        return;
    }
    let _alone = ALONE.lock().await;
    let asked = asked();
    for seed in asked.seeds {
        eprintln!("{}: seed {seed}; to repeat it: QUCKCHAT_TEST_SEED={seed}", fault.name());
        let mut fleet = Fleet::start(seed).await;
        let outcome = run(&mut fleet, fault, seed, asked.at_length).await;
        println!("{}", outcome.row(fault, seed));
        if let Some(failure) = outcome.failure() {
            panic!(
                "{} with seed {seed}: {failure}\n{}logs: {}",
                fault.name(),
                fleet.complaints(),
                fleet.keep().display()
            );
        }
    }
}

async fn run(fleet: &mut Fleet, fault: Fault, seed: u64, at_length: bool) -> Outcome {
    let audit = Audit::begin(&fleet.database_url()).await;
    let people = fleet.people(Size::SUITE.people);
    let gathering = Gathering::begins(Size::SUITE, &people, &fleet.doors(), seed).await;
    let mut chance = Chance::of(seed, 2);
    pause(chance.millis(700..=1200)).await;
    fault.happens(fleet, &mut chance, at_length).await;
    // From here on nothing is broken, and nobody begins anything new.
    gathering.acts(false);
    let mut healed = gathering.agrees(&audit, HEALS_WITHIN).await;
    if healed.is_ok() {
        // The fleet goes on as before.
        gathering.acts(true);
        pause(Duration::from_millis(700)).await;
        gathering.acts(false);
        if let Err(why) = gathering.agrees(&audit, HEALS_WITHIN).await {
            healed = Err(format!("afterwards: {why}"));
        }
    }
    let heads = audit.heads().await.expect("a database that answers");
    let (ledger, endings, truth) = gathering.ends(&heads, fleet.doors().balancer).await;
    let (acknowledged, repeated) = (ledger.acknowledged.len(), ledger.repeated);
    let refused = ledger.refused.clone();
    let kinds = ledger.kinds();
    let (heard, judging) = (ledger.heard.len(), Instant::now());
    let findings = check(&History { ledger, pasts: audit.pasts().await, truth, endings });
    eprintln!("{}: {heard} events judged in {:?}; {kinds:?}", fault.name(), judging.elapsed());
    Outcome { acknowledged, repeated, findings, refused, healed }
}

impl Outcome {
    /// A row of the table that `tests/run` prints at the end.
    fn row(&self, fault: Fault, seed: u64) -> String {
        let Findings { lost, doubled, gapped, misdelivered, unequal, .. } = &self.findings;
        let healed = self.healed.as_ref().map_or("never".to_owned(), |took| format!("{:.2} s", took.as_secs_f64()));
        format!(
            "fault | {} | {seed} | {} | {} | {lost} | {doubled} | {gapped} | {misdelivered} | {unequal} | {healed} |",
            fault.name(),
            self.acknowledged,
            self.repeated
        )
    }

    /// Why it failed, if it did.
    fn failure(&self) -> Option<String> {
        let mut wrong = self.findings.notes.clone();
        wrong.extend(self.refused.iter().take(10).map(|refused| format!("refused: {refused}")));
        wrong.extend(self.healed.as_ref().err().cloned());
        if self.acknowledged < ENOUGH {
            wrong.push(format!("only {} changes were acknowledged", self.acknowledged));
        }
        (!wrong.is_empty()).then(|| wrong.join("\n"))
    }
}
