//! The cost of a change and of a new symbol: which entries and indexes are replaced.

use crate::bus::fixtures::{Size, subscribed};
use crate::bus::{DEFAULT_POLICIES, Reader};
use crate::dispatch::entry::Entry;
use crate::dispatch::part::Index;
use crate::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey};
use crate::event::{Kind, Payload, Ticker};
use crate::janitor;
use crate::names::{ProviderId, SymbolId};
use crate::pool::Pools;
use std::collections::BTreeSet;
use std::sync::Arc;

struct Plane {
    dispatcher: Arc<Dispatcher>,
    provider: ProviderId,
    publisher: Publisher,
    readers: Vec<Reader>,
}

fn symbol(i: usize) -> SymbolId {
    SymbolId::intern(&format!("PART-{i}"))
}

impl Plane {
    fn new(provider: &str) -> Self {
        let (dispatcher, provider) = (Dispatcher::new(Pools::new(1 << 28)), ProviderId::intern(provider));
        let publisher = Publisher::new(&dispatcher, provider);
        Self { dispatcher, provider, publisher, readers: Vec::new() }
    }

    fn subscribe(&mut self, kind: Kind, symbol: Option<SymbolId>) {
        let key = RouteKey { provider: self.provider, kind, symbol };
        let routes = vec![Route { key, filters: Vec::new(), depth: 0 }];
        let (_, reader, _) =
            subscribed(&self.dispatcher, DEFAULT_POLICIES, Size::of(16), routes, &Arc::default());
        self.readers.push(reader);
    }

    fn publish(&mut self, symbol: SymbolId) -> Option<u64> {
        let wanted = self.publisher.wanted(Kind::Ticker, symbol)?;
        let origin = Origin { kind: Kind::Ticker, symbol, venue_time: None, received_time: 0 };
        self.publisher.publish(wanted, origin, Payload::Ticker(Ticker::default())).unwrap()
    }

    fn index(&self) -> Arc<Index> {
        let mut registry = crate::sync::lock(&self.dispatcher.registry);
        registry.provider(self.provider).part(Kind::Ticker).index().load()
    }
}

fn entry(index: &Index, symbol: SymbolId) -> *const Entry {
    index.entry(index.find(symbol).unwrap())
}

#[test]
fn a_new_symbol_costs_its_entry() {
    let mut plane = Plane::new("parts-listed");
    plane.dispatcher.list_symbols(plane.provider, 1000);
    (0..3).for_each(|_| plane.subscribe(Kind::Ticker, None));
    assert!(plane.publish(symbol(0)).is_some());
    let index = plane.index();
    let first = entry(&index, symbol(0));
    for i in 1..1000 {
        assert!(plane.publish(symbol(i)).is_some());
        assert!(Arc::ptr_eq(&index, &plane.index()), "the part has room for the listed symbols");
    }
    assert_eq!(entry(&index, symbol(0)), first, "an entry is built once");
}

#[test]
fn a_part_without_a_list_grows_by_doubling() {
    let mut plane = Plane::new("parts-unlisted");
    plane.subscribe(Kind::Ticker, None);
    plane.publish(symbol(0));
    let first = entry(&plane.index(), symbol(0));
    let mut indexes = Vec::new();
    // The janitor would replace the index, to admit the symbols that are left out.
    let held = janitor::hold();
    for i in 1..10_000 {
        assert!(plane.publisher.wanted(Kind::Ticker, symbol(i)).is_some());
        let index = plane.index();
        if indexes.last().is_none_or(|last| !Arc::ptr_eq(last, &index)) {
            indexes.push(index);
        }
    }
    assert!(indexes.len() <= 9, "saw {} indexes for 10,000 symbols", indexes.len());
    assert_eq!(entry(&plane.index(), symbol(0)), first, "growth keeps the entries");
    assert!((0..10_000).all(|i| plane.index().find(symbol(i)).is_some()));
    drop(held);
    janitor::settle();
    assert_eq!(entry(&plane.index(), symbol(0)), first, "only entries with symbols left out are built again");
    assert!((0..10_000).all(|i| plane.publish(symbol(i)).is_some()));
}

#[test]
fn a_change_replaces_only_its_entries() {
    let mut plane = Plane::new("parts-changed");
    plane.dispatcher.list_symbols(plane.provider, 100);
    plane.subscribe(Kind::Ticker, None);
    (0..100).for_each(|i| assert!(plane.publish(symbol(i)).is_some()));
    let before = plane.index();
    plane.subscribe(Kind::Trade, None);
    assert!(Arc::ptr_eq(&before, &plane.index()), "another kind has a part of its own");
    plane.subscribe(Kind::Ticker, Some(symbol(7)));
    let after = plane.index();
    let replaced: BTreeSet<_> =
        (0..100).filter(|i| entry(&before, symbol(*i)) != entry(&after, symbol(*i))).collect();
    assert_eq!(replaced, BTreeSet::from([7]));
}

#[test]
fn a_replaced_entry_keeps_its_full_cells_and_its_sequence() {
    let mut plane = Plane::new("parts-cells");
    plane.subscribe(Kind::Ticker, None);
    assert_eq!(plane.publish(symbol(0)), Some(1));
    plane.subscribe(Kind::Ticker, None);
    let mut other = Publisher::new(&plane.dispatcher, plane.provider);
    std::mem::swap(&mut other, &mut plane.publisher);
    assert_eq!(plane.publish(symbol(0)), Some(2));
    let mut items = Vec::new();
    plane.readers[0].read(plane.dispatcher.watermark(), 4, &mut items);
    let numbers: Vec<_> = items.iter().map(|i| (i.header().seq, i.header().provider_seq)).collect();
    assert_eq!(numbers, [(2, 2)], "the second event replaced the first in its cell");
    assert_eq!(plane.readers[0].queue().losses(Kind::Ticker).conflated(), 1);
}
