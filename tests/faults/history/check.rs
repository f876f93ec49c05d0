//! Whether a history keeps the node's promises: nothing lost, doubled, skipped, or told to whom it is not for.
//! Never a question to anybody: all that it judges lies before it.

use super::audit::{Past, Span, Stamp};
use super::{Acknowledged, Change, Ending, Heard, Id, Ledger, Order, Row};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A whole run, when all is over.
#[derive(Default)]
pub struct History {
    pub ledger: Ledger,
    /// As the database has witnessed it.
    pub pasts: BTreeMap<Id, Past>,
    /// Every row of each conversation, as one who was always a member reads it through a public door.
    pub truth: BTreeMap<Id, BTreeMap<String, (i64, Row)>>,
    pub endings: Vec<Ending>,
}

/// What is wrong with a run, by kind.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Findings {
    /// Acknowledged or told, and not there so.
    pub lost: u64,
    /// There twice, told twice, or one number or key for two things.
    pub doubled: u64,
    /// A number that nothing has; an event that does not follow on the one before.
    pub gapped: u64,
    /// Told to somebody who was no member then, or may not see so far back.
    pub misdelivered: u64,
    /// Rows that a client holds otherwise than they are.
    pub unequal: u64,
    /// The first of them, in words.
    pub notes: Vec<String>,
}

/// Notes beside a failure.
const NOTES: usize = 12;

impl Findings {
    /// Whether nothing was found.
    pub fn none(&self) -> bool {
        [self.lost, self.doubled, self.gapped, self.misdelivered, self.unequal] == [0; 5]
    }

    fn note(&mut self, count: fn(&mut Findings) -> &mut u64, what: impl FnOnce() -> String) {
        *count(self) += 1;
        if self.notes.len() < NOTES {
            self.notes.push(what());
        }
    }

    fn lost(&mut self, what: impl FnOnce() -> String) {
        self.note(|found| &mut found.lost, || format!("lost: {}", what()));
    }

    fn doubled(&mut self, what: impl FnOnce() -> String) {
        self.note(|found| &mut found.doubled, || format!("doubled: {}", what()));
    }

    fn gapped(&mut self, what: impl FnOnce() -> String) {
        self.note(|found| &mut found.gapped, || format!("gapped: {}", what()));
    }

    fn misdelivered(&mut self, what: impl FnOnce() -> String) {
        self.note(|found| &mut found.misdelivered, || format!("misdelivered: {}", what()));
    }

    fn unequal(&mut self, what: impl FnOnce() -> String) {
        self.note(|found| &mut found.unequal, || format!("unequal: {}", what()));
    }
}

/// Judges a run.
pub fn check(history: &History) -> Findings {
    let mut found = Findings::default();
    let witnesses: HashMap<&str, Witness> =
        history.pasts.iter().map(|(id, past)| (id.as_str(), Witness::of(past))).collect();
    for (id, past) in &history.pasts {
        numbers(id, past, &mut found);
        rows(id, past, history.truth.get(id), &mut found);
    }
    acknowledged(&history.ledger.acknowledged, &witnesses, &mut found);
    for heard in &history.ledger.heard {
        told(heard, witnesses.get(heard.conversation.as_str()), &mut found);
    }
    for ending in &history.endings {
        ended(ending, &mut found);
    }
    found
}

/// A past, to be asked.
struct Witness<'a> {
    past: &'a Past,
    stamps: HashMap<i64, &'a Stamp>,
    /// By row, every `rev` at which it was stamped.
    by_row: HashMap<String, Vec<i64>>,
    spans: HashMap<&'a str, Vec<Span>>,
}

impl Witness<'_> {
    fn of(past: &Past) -> Witness<'_> {
        let mut witness = Witness { past, stamps: HashMap::new(), by_row: HashMap::new(), spans: HashMap::new() };
        for stamp in &past.stamps {
            witness.stamps.insert(stamp.rev, stamp);
            witness.by_row.entry(stamp.row.key()).or_default().push(stamp.rev);
            if let (Some(span), Row::Participant { user, .. }) = (stamp.span, &stamp.row) {
                let spans = witness.spans.entry(user).or_default();
                match spans.last_mut() {
                    Some(last) if last.from == span.from => *last = span,
                    last => {
                        if let Some(last) = last {
                            // Both in one transaction: the end of the first was never written.
                            last.until = last.until.or(Some(span.from - 1));
                        }
                        spans.push(span);
                    }
                }
            }
        }
        witness
    }

    /// Whether a row stood so at this `rev`, as far as can be known: within one transaction a later change of the
    /// same row may have replaced it before it was written.
    fn confirms(&self, rev: i64, row: &Row) -> bool {
        if let Some(stamp) = self.stamps.get(&rev) {
            return stamp.row == *row;
        }
        let batch = self.past.batches.iter().find(|(from, upto)| (*from..=*upto).contains(&rev));
        let revs = self.by_row.get(&row.key());
        batch.zip(revs).is_some_and(|((_, upto), revs)| revs.iter().any(|other| (rev..=*upto).contains(other)))
    }

    /// Whether a change was for this user to see.
    fn may_see(&self, user: &str, rev: i64, row: &Row) -> bool {
        self.spans.get(user).into_iter().flatten().any(|span| {
            let member = rev >= span.from && span.until.is_none_or(|until| rev <= until);
            member && !matches!(row, Row::Message { seq, .. } if *seq < span.visible_from)
        })
    }

    fn removals(&self, user: &str) -> usize {
        self.spans.get(user).into_iter().flatten().filter(|span| span.until.is_some()).count()
    }
}

/// `rev` and `seq` go up by one, each is given once, and each key makes one message.
fn numbers(id: &str, past: &Past, found: &mut Findings) {
    let (mut next, mut lasts) = (1, HashSet::new());
    for (from, upto) in &past.batches {
        if *from > next {
            found.gapped(|| format!("{id} has no rev {next} to {}", from - 1));
        } else if *from < next {
            found.doubled(|| format!("{id} gave rev {from} again"));
        }
        next = upto + 1;
        lasts.insert(*upto);
    }
    if next != past.last_rev + 1 {
        found.gapped(|| format!("{id} ends at rev {}, and its transactions at {}", past.last_rev, next - 1));
    }
    let mut revs = HashSet::new();
    let (mut seqs, mut keys) = (HashSet::new(), HashSet::new());
    for stamp in &past.stamps {
        if !revs.insert(stamp.rev) {
            found.doubled(|| format!("{id} stamped rev {} on two rows", stamp.rev));
        }
        if let (Some(made_by), Row::Message { seq, .. }) = (&stamp.made_by, &stamp.row) {
            if !seqs.insert(*seq) {
                found.doubled(|| format!("{id} gave seq {seq} twice"));
            }
            if !keys.insert(made_by) {
                found.doubled(|| format!("{id} has two messages by the key {made_by:?}"));
            }
        }
    }
    // The last change of a transaction cannot have been replaced within it.
    for last in lasts.iter().filter(|last| !revs.contains(last)) {
        found.gapped(|| format!("{id} stamped rev {last} on no row"));
    }
    for seq in (1..=past.last_seq).filter(|seq| !seqs.contains(seq)) {
        found.gapped(|| format!("{id} has no seq {seq}"));
    }
    if seqs.iter().any(|seq| *seq > past.last_seq) {
        found.gapped(|| format!("{id} has a seq above its last, {}", past.last_seq));
    }
}

/// What can be read through a public door is what was written last.
fn rows(id: &str, past: &Past, truth: Option<&BTreeMap<String, (i64, Row)>>, found: &mut Findings) {
    let none = BTreeMap::new();
    let truth = truth.unwrap_or(&none);
    let last: BTreeMap<String, &Stamp> = past.stamps.iter().map(|stamp| (stamp.row.key(), stamp)).collect();
    for (key, stamp) in &last {
        match truth.get(key) {
            Some((rev, row)) if *rev == stamp.rev && *row == stamp.row => {}
            read => found.lost(|| format!("{key} of {id} is {stamp:?}, and reads {read:?}")),
        }
    }
    for key in truth.keys().filter(|key| !last.contains_key(*key)) {
        found.unequal(|| format!("{key} of {id} is read, and was never written"));
    }
}

fn acknowledged(all: &[Acknowledged], witnesses: &HashMap<&str, Witness>, found: &mut Findings) {
    let mut first: HashMap<(&str, &str, &str), &Row> = HashMap::new();
    let mut removals: HashMap<(&str, &str), usize> = HashMap::new();
    for Acknowledged { conversation, change } in all {
        let Some(witness) = witnesses.get(conversation.as_str()) else {
            found.lost(|| format!("the conversation {conversation}"));
            continue;
        };
        match change {
            Change::Wrote { rev, row } => {
                if !witness.confirms(*rev, row) {
                    found.lost(|| format!("{row:?} at {rev} of {conversation}"));
                }
            }
            Change::Sent { sender, client_id, rev, row } => {
                if !witness.confirms(*rev, row) {
                    found.lost(|| format!("{row:?} at {rev} of {conversation}"));
                }
                // A repeat gave the same message, as it stands by then.
                let before = first.entry((conversation, sender, client_id)).or_insert(row);
                if before.key() != row.key() {
                    found.doubled(|| format!("{client_id} gave {before:?} and {row:?}"));
                }
                let made = |stamp: &Stamp| stamp.made_by.as_ref() == Some(&(sender.clone(), client_id.clone()));
                if !witness.past.stamps.iter().any(|stamp| made(stamp) && stamp.row.key() == row.key()) {
                    found.lost(|| format!("{client_id} of {conversation}"));
                }
            }
            Change::Removed { user } => *removals.entry((conversation, user)).or_default() += 1,
        }
    }
    for ((conversation, user), count) in removals {
        if witnesses[conversation].removals(user) < count {
            found.lost(|| format!("a removal of {user} from {conversation}"));
        }
    }
}

fn told(heard: &Heard, witness: Option<&Witness>, found: &mut Findings) {
    let Heard { user, conversation, from, rev, rows, order } = heard;
    match order {
        Order::Next => {}
        Order::Again => found.doubled(|| format!("{user} heard {from} to {rev} of {conversation} again")),
        Order::Skips | Order::Stray => {
            found.gapped(|| format!("{user} heard {from} to {rev} of {conversation}, which {order:?}"));
        }
    }
    for (rev, row) in rows {
        if !witness.is_some_and(|witness| witness.confirms(*rev, row)) {
            found.lost(|| format!("{user} heard {row:?} at {rev} of {conversation}"));
        }
        if !witness.is_some_and(|witness| witness.may_see(user, *rev, row)) {
            let spans = witness.and_then(|witness| witness.spans.get(user.as_str()));
            found.misdelivered(|| format!("{user}, there {spans:?}, heard {row:?} at {rev} of {conversation}"));
        }
    }
}

/// What a client holds is what it would be told afresh, but for what an earlier span has left.
fn ended(ending: &Ending, found: &mut Findings) {
    let Ending { client, conversation, held, fresh, visible_from } = ending;
    let below = |row: &serde_json::Value| row["seq"].as_i64().is_some_and(|seq| seq < *visible_from);
    for (key, row) in fresh {
        if below(row) {
            found.misdelivered(|| format!("{client} may read {row} in {conversation}, below {visible_from}"));
        }
        if held.get(key) != Some(row) {
            found.unequal(|| format!("{client} holds {:?} in {conversation}, and it is {row}", held.get(key)));
        }
    }
    for (key, row) in held.iter().filter(|(key, _)| !fresh.contains_key(*key)) {
        if !below(row) {
            found.unequal(|| format!("{client} holds {key} in {conversation}, which is not there"));
        }
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
