//! Bytes of extensions: whatever their sizes and readers, a queue never holds more than it has paid for.

use super::{DEFAULT_POLICIES, Size, provider, subscribed};
use crate::bus::{Item, OverflowPolicy, Queue, QueueOptions, Reader};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, NotDispatched, Origin, Publisher, Route, RouteKey, StopFlag};
use crate::event::{Extension, Kind, Payload, Trade, VenueId};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{NoCapacity, Pools};
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::Arc;

const QUEUES: usize = 3;
const BATCH: usize = 16;

fn extension(json: usize) -> Extension {
    Extension::new("x", &"1".repeat(json), 0).unwrap()
}

/// Publishes an extension whose JSON has as many bytes.
fn emit(publisher: &mut Publisher, json: usize) -> Result<Option<u64>, NotDispatched> {
    let extension = extension(json);
    let Some((wanted, symbol)) = publisher.wanted_extension(extension.name()) else { return Ok(None) };
    let origin = Origin { kind: Kind::Extension, symbol, venue_time: None, received_time: 0 };
    publisher.publish(wanted, origin, Payload::Extension(Box::new(extension)))
}

fn trade(publisher: &mut Publisher) {
    let symbol = SymbolId::intern("EXTENSION-TRADES");
    let wanted = publisher.wanted(Kind::Trade, symbol).unwrap();
    let origin = Origin { kind: Kind::Trade, symbol, venue_time: None, received_time: 0 };
    let (price, quantity) = (Decimal::from_i64(1), Decimal::from_i64(1));
    let trade = Trade { id: Some(VenueId::Number(1)), side: None, price, quantity, late: false };
    publisher.publish(wanted, origin, Payload::Trade(trade)).unwrap();
}

/// A queue with its reader, what the reader has in hand, and what it has read.
struct Listener {
    queue: Arc<Queue>,
    reader: Reader,
    hand: Vec<Item>,
    read: Vec<(u64, Kind)>,
}

impl Listener {
    fn new(dispatcher: &Arc<Dispatcher>, name: ProviderId, policy: OverflowPolicy, capacity: usize) -> Self {
        let mut policies = DEFAULT_POLICIES;
        policies[Kind::Extension as usize] = policy;
        let key = |kind| RouteKey { provider: name, kind, symbol: None };
        let kinds = [Kind::Extension, Kind::Trade];
        let routes = kinds.map(|kind| Route { key: key(kind), filters: Vec::new(), depth: 1 }).into();
        let size = Size { capacity, batch: BATCH, private_limit: 1 };
        let (queue, reader, _) = subscribed(dispatcher, policies, size, routes, &Arc::default());
        Self { queue, reader, hand: Vec::new(), read: Vec::new() }
    }

    fn read(&mut self, dispatcher: &Arc<Dispatcher>, max: usize) {
        self.hand.clear();
        self.reader.read(dispatcher.watermark(), max, &mut self.hand);
        self.read.extend(self.hand.iter().map(|item| (item.header().seq, item.header().kind)));
    }

    fn lost(&self, kind: Kind) -> usize {
        let losses = self.queue.losses(kind);
        (losses.dropped() + losses.conflated()) as usize
    }

    fn held(&self) -> usize {
        let cost = |item: &Item| match &item.payload {
            Payload::Extension(extension) => extension.cost(),
            _ => 0,
        };
        self.hand.iter().map(cost).sum()
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Emit(usize),
    Trade,
    Read(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![0..300usize, 0..=Extension::MAX_BYTES, Just(Extension::MAX_BYTES)];
    let step = prop_oneof![
        6 => size.prop_map(Step::Emit),
        2 => Just(Step::Trade),
        2 => (0..QUEUES, 1..=BATCH).prop_map(|(queue, max)| Step::Read(queue, max)),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Each queue pays for what it holds, loses only by its own policy, and keeps the latest extension.
    #[test]
    fn a_queue_holds_the_bytes_that_it_has_paid_for(
        policies in proptest::array::uniform3(select(vec![OverflowPolicy::DropOldest, OverflowPolicy::Conflate])),
        capacities in proptest::array::uniform3(select(vec![1usize, 4, 64, 512])),
        steps in steps(),
    ) {
        let pools = Pools::new(1 << 28);
        let dispatcher = Dispatcher::new(Arc::clone(&pools));
        let name = provider("extension-bytes");
        let mut listeners: Vec<_> = (0..QUEUES)
            .map(|i| Listener::new(&dispatcher, name, policies[i], capacities[i]))
            .collect();
        let mut publisher = Publisher::new(&dispatcher, name);
        let (mut trades, mut emitted) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Emit(json) => emitted.push(emit(&mut publisher, json).unwrap().unwrap()),
                Step::Trade => {
                    trade(&mut publisher);
                    trades += 1;
                }
                Step::Read(i, max) => listeners[i].read(&dispatcher, max),
            }
            for listener in &listeners {
                let claim = listener.queue.claim().extension_bytes;
                let waiting = listener.queue.extension_bytes() as usize;
                prop_assert!(waiting * 2 <= claim && listener.held() * 2 <= claim, "{waiting} of {claim}");
            }
        }
        let claimed: usize = listeners.iter().map(|listener| listener.queue.claim().extension_bytes).sum();
        prop_assert_eq!(pools.reserved().extension_bytes, claimed);
        for (i, listener) in listeners.iter_mut().enumerate() {
            while listener.reader.has_work() {
                listener.read(&dispatcher, BATCH);
            }
            prop_assert!(listener.read.is_sorted());
            let count = |kind| listener.read.iter().filter(|(_, of)| *of == kind).count();
            prop_assert_eq!(count(Kind::Extension) + listener.lost(Kind::Extension), emitted.len());
            prop_assert_eq!(count(Kind::Trade) + listener.lost(Kind::Trade), trades);
            let mut extensions = listener.read.iter().filter(|(_, kind)| *kind == Kind::Extension);
            prop_assert_eq!(extensions.next_back().map(|(seq, _)| *seq), emitted.last().copied());
            if trades <= capacities[i] {
                prop_assert_eq!(listener.lost(Kind::Trade), 0, "extensions evict no trades");
            }
        }
    }
}

/// A flood evicts more small extensions than may be evicted under the lock at once.
#[test]
fn one_large_extension_evicts_many_small_ones() {
    let dispatcher = Dispatcher::new(Pools::new(1 << 28));
    let name = provider("extension-flood");
    let mut listener = Listener::new(&dispatcher, name, OverflowPolicy::DropOldest, 1024);
    let mut publisher = Publisher::new(&dispatcher, name);
    for _ in 0..1024 {
        emit(&mut publisher, 300).unwrap();
    }
    assert_eq!(listener.lost(Kind::Extension), 0);
    assert_eq!(listener.queue.extension_bytes() as usize, 1024 * extension(300).cost());
    for _ in 0..4 {
        emit(&mut publisher, Extension::MAX_BYTES).unwrap();
    }
    assert!(listener.lost(Kind::Extension) > 64);
    assert!(listener.queue.extension_bytes() as usize <= 1024 * 512);
    listener.read(&dispatcher, BATCH);
    assert_eq!(listener.read[0].0 as usize, listener.lost(Kind::Extension) + 1, "the oldest are evicted");
}

/// A queue whose policy blocks has room again once its reader has taken the bytes.
#[test]
fn bytes_block_the_publisher() {
    let dispatcher = Dispatcher::new(Pools::new(1 << 28));
    let name = provider("extension-blocks");
    let mut listener = Listener::new(&dispatcher, name, OverflowPolicy::Block, 4);
    let never_waits = Arc::new(StopFlag::never_wait());
    let mut publisher = Publisher::new(&dispatcher, name).stopped_by(never_waits);
    assert_eq!(emit(&mut publisher, Extension::MAX_BYTES), Ok(Some(1)));
    assert_eq!(emit(&mut publisher, 300), Err(NotDispatched::QueueFull));
    listener.read(&dispatcher, BATCH);
    assert_eq!(emit(&mut publisher, 300), Ok(Some(2)));
    listener.read(&dispatcher, BATCH);
    assert_eq!(listener.read, [(1, Kind::Extension), (2, Kind::Extension)]);
    assert_eq!(listener.lost(Kind::Extension), 0);
}

/// The bytes count against the limit of the pools, and return to it when the queue ends.
#[test]
fn bytes_are_a_part_of_the_limit() {
    let pools = Pools::new(2 << 20);
    let dispatcher = Dispatcher::new(Arc::clone(&pools));
    let name = provider("extension-limit");
    let listener = Listener::new(&dispatcher, name, OverflowPolicy::DropOldest, 512);
    assert_eq!(pools.reserved().extension_bytes, 2 * 512 * 512);
    let key = RouteKey { provider: name, kind: Kind::Extension, symbol: None };
    let options =
        QueueOptions { policies: DEFAULT_POLICIES, capacity: 8192, batch: BATCH, private_limit: 1, depth: 1 };
    let refused = dispatcher.queue(options, &[key], Arc::default()).err();
    let text = refused.as_ref().map(NoCapacity::to_string).unwrap_or_default();
    assert!(text.contains("8388608 bytes of extensions"), "{text}");
    dispatcher.close(&listener.queue);
    assert_eq!(pools.reserved().extension_bytes, 512 * 512, "what the reader may hold stays reserved");
    drop(listener);
    assert_eq!(pools.reserved().extension_bytes, 0);
}

/// No queue could hold a larger one.
#[test]
fn a_large_extension_is_refused() {
    assert!(Extension::new(&"n".repeat(257), "1", 0).is_err());
    let text = Extension::new("n", &"1".repeat(Extension::MAX_BYTES + 1), 0).unwrap_err().to_string();
    assert_eq!(
        text,
        "extension not published: its JSON has 102401 bytes, and at most 102400 are allowed; send less"
    );
}
