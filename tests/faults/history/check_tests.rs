//! That the checker finds what a node could do wrong: each story breaks one promise of a history that keeps all.
//! Never a node.

use super::*;
use serde_json::json;

const CHAT: &str = "chat";

fn message(seq: i64, text: &str) -> Row {
    Row::Message { id: format!("m{seq}"), seq, text: Some(text.to_owned()) }
}

fn participant(user: &str, removed: bool) -> Row {
    Row::Participant { user: user.to_owned(), removed }
}

fn stamp(rev: i64, row: Row) -> Stamp {
    Stamp { rev, row, made_by: None, span: None }
}

fn made(rev: i64, seq: i64, key: &str) -> Stamp {
    Stamp { made_by: Some(("ann".to_owned(), key.to_owned())), ..stamp(rev, message(seq, key)) }
}

fn member(rev: i64, user: &str, from: i64, until: Option<i64>, visible_from: i64) -> Stamp {
    Stamp { span: Some(Span { from, until, visible_from }), ..stamp(rev, participant(user, until.is_some())) }
}

fn sent(rev: i64, seq: i64, key: &str) -> Acknowledged {
    let (sender, client_id, row) = ("ann".to_owned(), key.to_owned(), message(seq, key));
    Acknowledged { conversation: CHAT.to_owned(), change: Change::Sent { sender, client_id, rev, row } }
}

fn heard(user: &str, rev: i64, row: Row) -> Heard {
    let (user, conversation) = (user.to_owned(), CHAT.to_owned());
    Heard { user, conversation, from: rev, rev, rows: vec![(rev, row)], order: Order::Next }
}

/// Ann opens a group with Bob, says "a" and "b" and edits "b"; Cid comes, hears "c", and is removed.
fn history() -> History {
    let stamps = vec![
        stamp(1, Row::Settings),
        member(2, "ann", 2, None, 1),
        member(3, "bob", 3, None, 1),
        made(4, 1, "a"),
        made(5, 2, "b"),
        stamp(6, message(2, "b, edited")),
        member(7, "cid", 7, None, 3),
        made(8, 3, "c"),
        member(9, "cid", 7, Some(9), 3),
    ];
    let batches = vec![(1, 3), (4, 5), (6, 6), (7, 9)];
    let truth = stamps.iter().map(|stamp| (stamp.row.key(), (stamp.rev, stamp.row.clone()))).collect();
    let edited = Change::Wrote { rev: 6, row: message(2, "b, edited") };
    let removed = Change::Removed { user: "cid".to_owned() };
    let also = [edited, removed].map(|change| Acknowledged { conversation: CHAT.to_owned(), change });
    let acknowledged = [sent(4, 1, "a"), sent(5, 2, "b"), sent(8, 3, "c")].into_iter().chain(also).collect();
    let to_bob = stamps[3..].iter().map(|stamp| heard("bob", stamp.rev, stamp.row.clone()));
    let to_cid = [heard("cid", 8, message(3, "c")), heard("cid", 9, participant("cid", true))];
    let ledger = Ledger { acknowledged, heard: to_bob.chain(to_cid).collect(), ..Ledger::default() };
    let row = |rev: i64, seq: i64| (format!("m{seq}"), json!({ "rev": rev, "seq": seq }));
    let fresh: BTreeMap<_, _> = [row(4, 1), row(6, 2), row(8, 3)].into();
    let (client, conversation) = ("bob's".to_owned(), CHAT.to_owned());
    let ending = Ending { client, conversation, held: fresh.clone(), fresh, visible_from: 1 };
    let past = Past { last_seq: 3, last_rev: 9, stamps, batches };
    History {
        ledger,
        pasts: [(CHAT.to_owned(), past)].into(),
        truth: [(CHAT.to_owned(), truth)].into(),
        endings: vec![ending],
    }
}

/// What is found: lost, doubled, gapped, misdelivered, unequal.
fn found(break_it: impl FnOnce(&mut History, &mut Past)) -> [u64; 5] {
    let mut history = history();
    let mut past = history.pasts.remove(CHAT).unwrap();
    break_it(&mut history, &mut past);
    history.pasts.insert(CHAT.to_owned(), past);
    let found = check(&history);
    assert_eq!(found.notes.is_empty(), found.none());
    [found.lost, found.doubled, found.gapped, found.misdelivered, found.unequal]
}

#[test]
fn a_history_that_keeps_every_promise_passes() {
    assert_eq!(found(|_, _| ()), [0; 5]);
    let repeated = |history: &mut History, _: &mut Past| history.ledger.acknowledged.push(sent(4, 1, "a"));
    assert_eq!(found(repeated), [0; 5], "a repeat gives the same message");
}

#[test]
fn what_is_acknowledged_and_not_there_is_lost() {
    let unwritten = sent(10, 4, "d");
    assert_eq!(found(|history, _| history.ledger.acknowledged.push(unwritten))[0], 2, "neither the row nor its key");
    let row = message(2, "b, otherwise");
    let change = Change::Wrote { rev: 6, row };
    let edit = Acknowledged { conversation: CHAT.to_owned(), change };
    assert_eq!(found(|history, _| history.ledger.acknowledged.push(edit)), [1, 0, 0, 0, 0]);
    let change = Change::Removed { user: "cid".to_owned() };
    let removal = Acknowledged { conversation: CHAT.to_owned(), change };
    assert_eq!(found(|history, _| history.ledger.acknowledged.push(removal)), [1, 0, 0, 0, 0], "there was only one");
}

#[test]
fn what_was_written_and_cannot_be_read_is_lost() {
    let unread = |history: &mut History, _: &mut Past| drop(history.truth.get_mut(CHAT).unwrap().remove("message m1"));
    assert_eq!(found(unread), [1, 0, 0, 0, 0]);
    let outdated = |history: &mut History, _: &mut Past| {
        history.truth.get_mut(CHAT).unwrap().insert("message m2".to_owned(), (5, message(2, "b")));
    };
    assert_eq!(found(outdated), [1, 0, 0, 0, 0]);
}

#[test]
fn what_is_told_and_not_there_is_lost() {
    let told = heard("bob", 5, message(2, "never said"));
    assert_eq!(found(|history, _| history.ledger.heard.push(told)), [1, 0, 0, 0, 0]);
}

#[test]
fn what_a_later_change_of_its_transaction_replaced_is_not_lost() {
    // "b" and its edit in one transaction: only the edit was ever written.
    let together = |history: &mut History, past: &mut Past| {
        past.batches = vec![(1, 3), (4, 6), (7, 9)];
        past.stamps.remove(4);
        past.stamps[4].made_by = Some(("ann".to_owned(), "b".to_owned()));
        assert_eq!(history.ledger.heard[1].rev, 5);
    };
    assert_eq!(found(together), [0; 5]);
}

#[test]
fn what_is_there_twice_is_doubled() {
    let [_, twice, ..] = found(|_, past| past.stamps.push(made(10, 4, "a")));
    assert_eq!(twice, 1, "one key, two messages");
    let [_, twice, ..] = found(|_, past| past.stamps.push(made(10, 3, "d")));
    assert_eq!(twice, 1, "one seq, two messages");
    let again = sent(8, 3, "a");
    assert_eq!(found(|history, _| history.ledger.acknowledged.push(again))[1], 1, "one key, two answers");
}

#[test]
fn a_number_that_is_given_again_is_doubled() {
    assert_eq!(found(|_, past| past.stamps.push(stamp(4, Row::Settings)))[1], 1);
    assert_eq!(found(|_, past| past.batches[2] = (5, 6))[1], 1);
}

#[test]
fn an_event_that_comes_twice_is_doubled() {
    assert_eq!(found(|history, _| history.ledger.heard[0].order = Order::Again), [0, 1, 0, 0, 0]);
}

#[test]
fn a_number_that_nothing_has_is_a_gap() {
    assert_eq!(found(|_, past| past.batches[2] = (7, 7))[2], 1, "no transaction gave rev 6");
    assert_eq!(found(|_, past| past.last_rev = 10), [0, 0, 1, 0, 0], "the head went on");
    let unstamped = |history: &mut History, past: &mut Past| {
        past.stamps.retain(|stamp| stamp.rev != 9);
        history.ledger.heard.retain(|heard| heard.rev != 9);
        history.ledger.acknowledged.pop();
        let was = (7, participant("cid", false));
        history.truth.get_mut(CHAT).unwrap().insert("participant cid".to_owned(), was);
    };
    assert_eq!(found(unstamped), [0, 0, 1, 0, 0], "a transaction's last change stands nowhere");
    assert_eq!(found(|_, past| past.last_seq = 4), [0, 0, 1, 0, 0], "a seq is missing");
}

#[test]
fn an_event_that_does_not_follow_is_a_gap() {
    for order in [Order::Skips, Order::Stray] {
        assert_eq!(found(|history, _| history.ledger.heard[0].order = order), [0, 0, 1, 0, 0]);
    }
}

#[test]
fn what_comes_to_whom_it_is_not_for_is_misdelivered() {
    let cases = [
        (heard("cid", 5, message(2, "b")), "before they came"),
        (heard("dan", 8, message(3, "c")), "who was never there"),
    ];
    for (told, whom) in cases {
        assert_eq!(found(|history, _| history.ledger.heard.push(told)), [0, 0, 0, 1, 0], "{whom}");
    }
    let after = |history: &mut History, past: &mut Past| {
        past.stamps.push(made(10, 4, "d"));
        past.batches.push((10, 10));
        (past.last_rev, past.last_seq) = (10, 4);
        history.truth.get_mut(CHAT).unwrap().insert("message m4".to_owned(), (10, message(4, "d")));
        history.ledger.heard.push(heard("cid", 10, message(4, "d")));
    };
    assert_eq!(found(after), [0, 0, 0, 1, 0], "after they went");
    let old = |history: &mut History, past: &mut Past| {
        // While Cid is there, "a" is edited, which is older than what they may see.
        past.stamps[7] = stamp(8, message(1, "a, edited"));
        past.stamps[6].span = past.stamps[6].span.map(|span| Span { visible_from: 2, ..span });
        past.stamps[8].span = past.stamps[8].span.map(|span| Span { visible_from: 2, ..span });
        past.last_seq = 2;
        history.ledger.acknowledged.remove(2);
        history.ledger.heard.retain(|heard| heard.rev != 8);
        history.ledger.heard.push(heard("cid", 8, message(1, "a, edited")));
        let truth = history.truth.get_mut(CHAT).unwrap();
        truth.remove("message m3");
        truth.insert("message m1".to_owned(), (8, message(1, "a, edited")));
    };
    assert_eq!(found(old), [0, 0, 0, 1, 0], "what lies below their visibility");
    assert_eq!(found(|history, _| history.endings[0].visible_from = 2), [0, 0, 0, 1, 0], "and can be read");
}

#[test]
fn a_client_that_holds_something_else_is_unequal() {
    let forgets = |history: &mut History, _: &mut Past| drop(history.endings[0].held.remove("m1"));
    assert_eq!(found(forgets), [0, 0, 0, 0, 1]);
    let outdated = |history: &mut History, _: &mut Past| {
        history.endings[0].held.insert("m2".to_owned(), json!({ "rev": 5, "seq": 2 }));
    };
    assert_eq!(found(outdated), [0, 0, 0, 0, 1]);
    let invents = |history: &mut History, _: &mut Past| {
        history.endings[0].held.insert("m9".to_owned(), json!({ "rev": 9, "seq": 9 }));
    };
    assert_eq!(found(invents), [0, 0, 0, 0, 1]);
    let remembers = |history: &mut History, _: &mut Past| {
        let ending = &mut history.endings[0];
        (ending.visible_from, _) = (2, ending.fresh.remove("m1"));
    };
    assert_eq!(found(remembers), [0; 5], "of an earlier span");
}
