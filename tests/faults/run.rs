//! One run: a fleet, a crowd, a fault among them, and the judgement when all is quiet.
//! Never two at once: how long it takes to heal is measured.

use crate::asked::Asked;
use crate::chance::Chance;
use crate::crowd::Gathering;
use crate::crowd::plan::Size;
use crate::fault::Fault;
use crate::fleet::{self, Fleet};
use crate::history::audit::Audit;
use crate::history::check::{Findings, History, check};
use crate::wait::pause;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Within this everybody has come and has all that there is.
const ARRIVES_WITHIN: Duration = Duration::from_secs(120);
/// After a fault everybody must have what there is within this.
const HEALS_WITHIN: Duration = Duration::from_secs(10);
/// How long the crowd goes on when all is well again.
const AFTERWARDS: Duration = Duration::from_millis(700);
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
    tell_to(fault, Size::SUITE).await;
}

/// The same to a crowd of this size.
pub async fn tell_to(fault: Fault, size: Size) {
    if let Some(package) = fleet::missing() {
        eprintln!("not told: {}: {package} is not installed", fault.name());
        return;
    }
    let _alone = ALONE.lock().await;
    let mut asked = Asked::by_runner();
    for seed in std::mem::take(&mut asked.seeds) {
        eprintln!("{}: seed {seed}; to repeat it: QUCKCHAT_TEST_SEED={seed}", fault.name());
        let mut fleet = Fleet::start(seed, size.heartbeat).await;
        let run = Run { fault, seed, size, at_length: asked.at_length };
        let outcome = run.goes(&mut fleet).await;
        asked.notes(&outcome.row(&run));
        if let Some(failure) = outcome.failure() {
            panic!("{} with seed {seed}: {failure}", fault.name());
        }
    }
}

/// What is to be told.
struct Run {
    fault: Fault,
    seed: u64,
    size: Size,
    at_length: bool,
}

impl Run {
    async fn goes(&self, fleet: &mut Fleet) -> Outcome {
        let audit = Audit::begin(&fleet.database_url()).await;
        let people = fleet.people(self.size.people);
        let gathering = Gathering::begins(self.size, &people, &fleet.doors(), self.seed).await;
        gathering.agrees(&audit, ARRIVES_WITHIN).await.expect("a beginning");
        let mut chance = Chance::of(self.seed, 2);
        gathering.acts(true);
        pause(chance.millis(700..=1200)).await;
        self.fault.happens(fleet, &mut chance, self.at_length).await;
        // From here on nothing is broken, and nobody begins anything new.
        gathering.acts(false);
        let mut healed = gathering.agrees(&audit, HEALS_WITHIN).await;
        if healed.is_ok() {
            // The fleet goes on as before.
            gathering.acts(true);
            pause(AFTERWARDS).await;
            gathering.acts(false);
            if let Err(why) = gathering.agrees(&audit, HEALS_WITHIN).await {
                healed = Err(format!("afterwards: {why}"));
            }
        }
        let heads = audit.heads().await.expect("a database that answers");
        let (ledger, endings, truth) = gathering.ends(&heads, fleet.doors().balancer).await;
        let (acknowledged, repeated) = (ledger.acknowledged.len(), ledger.repeated);
        let (refused, kinds, heard) = (ledger.refused.clone(), ledger.kinds(), ledger.heard.len());
        let judging = Instant::now();
        let findings = check(&History { ledger, pasts: audit.pasts().await, truth, endings });
        eprintln!("{}: {kinds:?}, {heard} events, judged in {:?}", self.fault.name(), judging.elapsed());
        Outcome { acknowledged, repeated, findings, refused, healed }
    }
}

impl Outcome {
    /// A row of the table that `tests/run` prints at the end.
    fn row(&self, run: &Run) -> String {
        let Findings { lost, doubled, gapped, misdelivered, unequal, .. } = &self.findings;
        let healed = self.healed.as_ref().map_or("never".to_owned(), |took| format!("{:.2} s", took.as_secs_f64()));
        format!(
            "| {} | {} | {} | {} | {lost} | {doubled} | {gapped} | {misdelivered} | {unequal} | {healed} |",
            run.fault.name(),
            run.seed,
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
