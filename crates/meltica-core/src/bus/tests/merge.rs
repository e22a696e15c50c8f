//! The merge of several queues against a sorted model.

use super::{Mark, SYMBOLS, kinds, provider, read_mark, send, symbol};
use crate::bus::fixtures::{Size, subscribed};
use crate::bus::{DEFAULT_POLICIES, Merge, OverflowPolicy, Policies, Queue, Rule};
use crate::clock;
use crate::dispatch::{Dispatcher, NotDispatched, Publisher, Route, RouteKey};
use crate::event::Kind;
use crate::pool::Pools;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const DROP: Policies = [OverflowPolicy::DropOldest; Kind::COUNT];
const READERS: usize = 4;

/// A merge of queues, and what it handed out: reader, number and mark, in order.
struct Merged {
    dispatcher: Arc<Dispatcher>,
    publisher: Publisher,
    merge: Merge,
    handed: Vec<(usize, u64, Mark)>,
    ticks: u64,
}

impl Merged {
    fn new(rule: Rule, batch: usize, name: &str) -> Self {
        let pools = Pools::new(1 << 30);
        let dispatcher = Dispatcher::new(pools);
        let publisher = Publisher::new(&dispatcher, provider(name));
        let merge = Merge::new(rule, batch);
        Self { dispatcher, publisher, merge, handed: Vec::new(), ticks: clock::ticks() }
    }

    fn add(&mut self, policies: Policies, capacity: usize, wanted: &[(Kind, usize)]) -> Arc<Queue> {
        let key = |&(kind, of): &(Kind, usize)| RouteKey {
            provider: self.publisher.provider(),
            kind,
            symbol: Some(symbol(of)),
        };
        let route = |wanted| Route { key: key(wanted), filters: Vec::new(), depth: 1 };
        let routes = wanted.iter().map(route).collect();
        let size = Size { capacity, batch: 1024, private_limit: 1000 };
        let (queue, reader, _) = subscribed(&self.dispatcher, policies, size, routes, &Arc::default());
        self.merge.push(reader);
        queue
    }

    /// Hands out one round, in which each callback takes `took` ticks. Returns how many events there were.
    fn round(&mut self, took: u64) -> usize {
        let before = self.handed.len();
        self.merge.read(self.dispatcher.watermark());
        while let Some((reader, item)) = self.merge.next(self.ticks) {
            let (seq, mark) = read_mark(&item);
            self.handed.push((reader, seq, mark));
            self.ticks += took;
        }
        self.handed.len() - before
    }

    fn send(&mut self, kind: Kind, of: usize, tag: u64) -> Result<Option<u64>, NotDispatched> {
        send(&mut self.publisher, (kind, of, tag))
    }

    /// Returns what the merge handed out for one reader.
    fn of(&self, reader: usize) -> Vec<(u64, Mark)> {
        self.handed.iter().filter(|(of, ..)| *of == reader).map(|(_, seq, mark)| (*seq, *mark)).collect()
    }
}

/// Ticks of about 3 ms, more than a reader's share of a round.
fn slow() -> u64 {
    let from = clock::ticks();
    let mut to = from + 1_000_000;
    while clock::elapsed_ns(from, to) < 3_000_000 {
        to += 1_000_000;
    }
    to - from
}

#[test]
fn a_held_reader_keeps_its_safe_number() {
    let mut merged = Merged::new(Rule::Common, 2, "merge-held");
    merged.add(DROP, 16, &[(Kind::Trade, 0)]);
    merged.add(DROP, 16, &[(Kind::BalanceUpdate, 0)]);
    let (trade, balance) = (Kind::Trade, Kind::BalanceUpdate);
    for kind in [trade, trade, balance, trade] {
        merged.send(kind, 0, 0).unwrap();
    }
    merged.round(0);
    for kind in [balance, trade] {
        merged.send(kind, 0, 0).unwrap();
    }
    while merged.round(0) > 0 {}
    let numbers: Vec<u64> = merged.handed.iter().map(|(_, seq, _)| *seq).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6], "a skipped reader may have events up to the new watermark");
}

/// One slow reader with a backlog, and one of tickers that change all the time.
#[test]
fn a_backlog_delays_no_other_reader_and_hoards_no_slots() {
    const TICKERS: usize = SYMBOLS;
    let mut merged = Merged::new(Rule::Own, 32, "merge-backlog");
    merged.add(DEFAULT_POLICIES, 1 << 12, &[(Kind::Trade, 0)]);
    let tickers: Vec<_> = (0..TICKERS).map(|of| (Kind::Ticker, of)).collect();
    let conflating = merged.add(DEFAULT_POLICIES, 1, &tickers);
    for tag in 0..4000 {
        merged.send(Kind::Trade, 0, tag).unwrap();
    }
    let took = slow();
    for round in 1..=200 {
        for of in 0..TICKERS {
            merged.send(Kind::Ticker, of, round).unwrap();
            merged.send(Kind::Ticker, of, 10_000 + round).unwrap();
        }
        let before = [0, 1].map(|reader| merged.of(reader).len());
        merged.round(took);
        assert!(merged.of(0).len() <= before[0] + 1, "round {round}: the backlog exceeds its share");
        let seen = merged.of(1);
        assert!(seen.len() > before[1], "round {round}: the tickers wait for the backlog");
        let age = round - (seen[seen.len() - 1].1.2 - 10_000);
        assert!(age <= 2, "round {round}: a ticker of {age} rounds ago is not the latest");
        let pools = merged.dispatcher.pools();
        let taken = pools.events.capacity() - pools.events.free();
        assert!(taken <= 4096 + 32 + 3 * TICKERS, "round {round}: {taken} slots are out");
    }
    assert!(conflating.losses(Kind::Ticker).conflated() >= 200 * TICKERS as u64);
    assert!(merged.of(0).len() >= 200, "the backlog goes on");
}

#[test]
fn time_that_is_skipped_takes_no_share() {
    let mut merged = Merged::new(Rule::Own, 8, "merge-skipped");
    merged.add(DROP, 16, &[(Kind::Trade, 0)]);
    merged.add(DROP, 16, &[(Kind::BalanceUpdate, 0)]);
    for _ in 0..5 {
        merged.send(Kind::Trade, 0, 0).unwrap();
    }
    merged.merge.read(merged.dispatcher.watermark());
    let took = slow();
    let mut ticks = 0;
    let mut number = |skips: bool| {
        let item = merged.merge.next(ticks);
        ticks += took;
        if skips {
            merged.merge.skip_time(ticks);
        }
        item.map(|(_, item)| item.header().seq)
    };
    assert_eq!([true, true, false, true].map(&mut number), [Some(1), Some(2), Some(3), None]);
    assert_eq!(merged.merge.handed_out(5), 3);
}

#[test]
fn a_removed_reader_ends_the_round_and_takes_no_event_of_another() {
    let mut merged = Merged::new(Rule::Own, 8, "merge-removed");
    for kind in [Kind::Trade, Kind::KlineSummary, Kind::BalanceUpdate] {
        merged.add(DROP, 16, &[(kind, 0)]);
    }
    for kind in [Kind::KlineSummary, Kind::Trade, Kind::KlineSummary, Kind::BalanceUpdate] {
        merged.send(kind, 0, 0).unwrap();
    }
    merged.merge.read(merged.dispatcher.watermark());
    let first = merged.merge.next(0).map(|(reader, item)| (reader, item.header().seq));
    assert_eq!(first, Some((1, 1)));
    let removed = merged.merge.remove(1);
    merged.dispatcher.close(removed.queue());
    assert!(merged.merge.next(0).is_none(), "indexes have changed");
    merged.round(0);
    let numbers: Vec<_> = merged.handed.iter().map(|(reader, seq, _)| (*reader, *seq)).collect();
    assert_eq!(numbers, [(0, 2), (1, 4)]);
    assert!(!merged.merge.has_work());
}

#[derive(Debug, Clone)]
enum Step {
    Send(Kind, usize),
    Round {
        slow: bool,
    },
    /// Removes the reader with this index, if there is more than one.
    Remove(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = proptest::sample::select(kinds().collect::<Vec<_>>());
    let step = prop_oneof![
        12 => (kind, 0..SYMBOLS).prop_map(|(kind, of)| Step::Send(kind, of)),
        3 => any::<bool>().prop_map(|slow| Step::Round { slow }),
        1 => (0..READERS).prop_map(Step::Remove),
    ];
    proptest::collection::vec(step, 1..200)
}

/// The routes of each reader.
fn routes() -> impl Strategy<Value = Vec<Vec<(Kind, usize)>>> {
    let all: Vec<_> = kinds().flat_map(|kind| (0..SYMBOLS).map(move |of| (kind, of))).collect();
    let some = proptest::sample::subsequence(all, 1..6);
    proptest::collection::vec(some, 1..=READERS)
}

/// Checks what one reader was handed against what was sent to it. A removed reader was handed a beginning of it.
fn check_reader(
    mine: &[(u64, Mark)],
    sent: &[(u64, Mark)],
    policies: Policies,
    was_removed: bool,
) -> Result<(), TestCaseError> {
    let model: BTreeMap<u64, Mark> = sent.iter().copied().collect();
    prop_assert!(mine.is_sorted_by(|a, b| a.0 < b.0), "{:?}", mine);
    prop_assert!(mine.iter().all(|(seq, mark)| model.get(seq) == Some(mark)));
    let lossless = |mark: &Mark| mark.0.is_private() || policies[mark.0 as usize] != OverflowPolicy::Conflate;
    let kept = |events: &[(u64, Mark)]| -> Vec<u64> {
        events.iter().filter(|(_, mark)| lossless(mark)).map(|(seq, _)| *seq).collect()
    };
    if was_removed {
        prop_assert!(kept(sent).starts_with(&kept(mine)));
    } else {
        prop_assert_eq!(kept(mine), kept(sent));
        prop_assert_eq!(mine.last(), sent.last(), "the latest event is never lost");
    }
    Ok(())
}

/// Runs random steps; returns the merge, and for each reader its name and the events that it was sent. Readers without
/// conflation lose nothing.
fn run(
    rule: Rule,
    batch: usize,
    policies: Policies,
    routes: &[Vec<(Kind, usize)>],
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let mut merged = Merged::new(rule, batch, "merge-random");
    let mut names: Vec<usize> = (0..routes.len()).collect();
    let mut sent: Vec<Vec<(u64, Mark)>> = vec![Vec::new(); routes.len()];
    let mut handed: Vec<(usize, u64, Mark)> = Vec::new();
    let mut removed: Vec<bool> = vec![false; routes.len()];
    // What was handed out by the end of each round: events, and up to which number.
    let mut marks: Vec<(usize, u64)> = Vec::new();
    for routes in routes {
        merged.add(policies, 512, routes);
    }
    let took = slow();
    let mut tag = 0;
    let mut round = |merged: &mut Merged, names: &[usize], slow: bool| {
        let n = merged.round(if slow { took } else { 0 });
        handed.extend(merged.handed.drain(..).map(|(reader, seq, mark)| (names[reader], seq, mark)));
        marks.push((handed.len(), merged.merge.handed_out(merged.dispatcher.watermark())));
        n
    };
    for step in steps {
        match step {
            Step::Send(kind, of) => {
                tag += 1;
                if let Some(seq) = merged.send(*kind, *of, tag).unwrap() {
                    for (name, wanted) in routes.iter().enumerate() {
                        if wanted.contains(&(*kind, *of)) {
                            sent[name].push((seq, (*kind, *of, tag)));
                        }
                    }
                }
            }
            Step::Round { slow } => drop(round(&mut merged, &names, *slow)),
            Step::Remove(index) if *index < names.len() && names.len() > 1 => {
                removed[names.remove(*index)] = true;
                let reader = merged.merge.remove(*index);
                merged.dispatcher.close(reader.queue());
            }
            Step::Remove(_) => {}
        }
    }
    let mut rounds = 0;
    while merged.merge.has_work() {
        round(&mut merged, &names, false);
        rounds += 1;
        prop_assert!(rounds <= 2000, "the merge makes no progress");
    }
    round(&mut merged, &names, false);
    prop_assert_eq!(marks.last().map(|mark| mark.1), Some(merged.dispatcher.watermark()));
    for (n, upto) in marks {
        prop_assert!(handed[n..].iter().all(|(_, seq, _)| *seq > upto), "{} of {:?}", upto, &handed[n..]);
    }
    if rule == Rule::Common {
        prop_assert!(handed.is_sorted_by_key(|(_, seq, _)| *seq), "{:?}", handed);
    }
    for (name, sent) in sent.iter().enumerate() {
        let of_reader = handed.iter().filter(|(of, ..)| *of == name);
        let mine: Vec<_> = of_reader.map(|(_, seq, mark)| (*seq, *mark)).collect();
        check_reader(&mine, sent, policies, removed[name])?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 128 } else { 256 }))]

    #[test]
    fn the_common_rule_merges_by_sequence(
        routes in routes(), steps in steps(), batch in 1usize..9, conflate in any::<bool>(),
    ) {
        run(Rule::Common, batch, if conflate { DEFAULT_POLICIES } else { DROP }, &routes, &steps)?;
    }

    #[test]
    fn the_own_rule_keeps_the_order_of_each_reader(
        routes in routes(), steps in steps(), batch in 1usize..9, conflate in any::<bool>(),
    ) {
        run(Rule::Own, batch, if conflate { DEFAULT_POLICIES } else { DROP }, &routes, &steps)?;
    }
}
