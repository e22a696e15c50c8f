//! The queues and the routing table against plain models.

use crate::bus::{DEFAULT_POLICIES, Policy, Queue, Waker};
use crate::decimal::Decimal;
use crate::dispatch::{Dispatcher, Origin, Publisher, Route, RouteKey};
use crate::event::{BalanceUpdate, Kind, Payload, Ticker, Trade, VenueId};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Claim, Pools};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const KINDS: [Kind; 3] = [Kind::Trade, Kind::Ticker, Kind::BalanceUpdate];

fn payload(kind: Kind) -> Payload {
    let number = Decimal::ZERO;
    match kind {
        Kind::Trade => {
            Payload::Trade(Trade { id: VenueId::Number(1), side: None, price: number, quantity: number })
        }
        Kind::Ticker => Payload::Ticker(Ticker::default()),
        _ => Payload::Balance(BalanceUpdate { total: number, available: number }),
    }
}

fn names() -> (ProviderId, [SymbolId; 3]) {
    let symbol = |name| SymbolId::intern(name).unwrap();
    (ProviderId::intern("bus-tests").unwrap(), ["BUS-A", "BUS-B", "BUS-C"].map(symbol))
}

fn send(publisher: &mut Publisher, kind: Kind, symbol: SymbolId) -> Option<u64> {
    let wanted = publisher.wanted(kind, symbol)?;
    let origin = Origin { kind, symbol, venue_time: None, received_time: 0 };
    publisher.publish(wanted, origin, payload(kind)).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Send(usize, usize),
    Read(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0usize..3, 0usize..3).prop_map(|(kind, symbol)| Step::Send(kind, symbol)),
        1 => (1usize..6).prop_map(Step::Read),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn prop_order_is_kept_and_losses_are_counted(steps in steps(), trades_conflate: bool, tickers_drop: bool) {
        let (provider, symbols) = names();
        let mut policies = DEFAULT_POLICIES;
        policies[Kind::Trade as usize] = if trades_conflate { Policy::Conflate } else { Policy::DropOldest };
        policies[Kind::Ticker as usize] = if tickers_drop { Policy::DropOldest } else { Policy::Conflate };
        let pools = Pools::new(1 << 24);
        let _claim = Pools::reserve(&pools, Claim { events: 64, ..Claim::default() }).ok();
        let dispatcher = Dispatcher::new(Arc::clone(&pools));
        let (queue, mut reader) = Queue::new(policies, 4, 1000, Arc::new(Waker::default()));
        let routes = KINDS.map(|kind| Route {
            key: RouteKey { provider, kind, symbol: None },
            filters: Vec::new(),
            depth: 0,
        });
        dispatcher.subscribe(&queue, routes.to_vec());
        let mut publisher = Publisher::new(&dispatcher, provider);
        let mut sent = BTreeMap::new();
        let mut seen = Vec::new();
        let mut items = Vec::new();
        let mut read = |max: usize, seen: &mut Vec<(u64, Kind, SymbolId)>| {
            reader.read(dispatcher.watermark(), max, &mut items);
            seen.extend(items.drain(..).map(|item| {
                let header = item.header();
                (header.seq, header.kind, header.symbol)
            }));
        };
        for step in steps {
            match step {
                Step::Send(kind, symbol) => {
                    let seq = send(&mut publisher, KINDS[kind], symbols[symbol]).unwrap();
                    sent.insert(seq, (KINDS[kind], symbols[symbol]));
                }
                Step::Read(max) => read(max, &mut seen),
            }
        }
        for _ in 0..200 {
            read(64, &mut seen);
        }
        prop_assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "no policy reorders: {seen:?}");
        for kind in KINDS {
            let all = sent.values().filter(|(k, _)| *k == kind).count() as u64;
            let got = seen.iter().filter(|(_, k, _)| *k == kind).count() as u64;
            let lost = queue.losses(kind).conflated.get() + queue.losses(kind).dropped.get();
            prop_assert_eq!(got + lost, all, "{:?}: what was lost is what was counted", kind);
            prop_assert!(!kind.is_private() || lost == 0);
        }
        for (seq, kind, symbol) in &seen {
            prop_assert_eq!(sent.get(seq), Some(&(*kind, *symbol)));
        }
        drop(reader);
        drop((queue, publisher, dispatcher));
        prop_assert_eq!(pools.events.free(), pools.events.capacity(), "every slot comes back");
    }

    #[test]
    fn prop_the_table_is_a_filter(
        wants in proptest::collection::vec(proptest::collection::vec((0usize..3, proptest::option::of(0usize..3)), 0..4), 1..5),
        gone in proptest::collection::vec(any::<bool>(), 5),
    ) {
        let (provider, symbols) = names();
        let pools = Pools::new(1 << 24);
        let _claim = Pools::reserve(&pools, Claim { events: 256, ..Claim::default() }).ok();
        let dispatcher = Dispatcher::new(pools);
        let mut readers = Vec::new();
        for want in &wants {
            let (queue, reader) = Queue::new([Policy::DropOldest; Kind::COUNT], 64, 1000, Arc::new(Waker::default()));
            let routes = want.iter().map(|(kind, symbol)| Route {
                key: RouteKey { provider, kind: KINDS[*kind], symbol: symbol.map(|s| symbols[s]) },
                filters: Vec::new(),
                depth: 0,
            });
            readers.push((dispatcher.subscribe(&queue, routes.collect()).0, reader));
        }
        let mut publisher = Publisher::new(&dispatcher, provider);
        for round in 0..2 {
            if round == 1 {
                for ((id, _), gone) in readers.iter().zip(&gone) {
                    if *gone {
                        dispatcher.unsubscribe(*id);
                    }
                }
            }
            for (k, kind) in KINDS.into_iter().enumerate() {
                for (s, symbol) in symbols.into_iter().enumerate() {
                    send(&mut publisher, kind, symbol);
                    for (i, (_, reader)) in readers.iter_mut().enumerate() {
                        let mut items = Vec::new();
                        reader.read(dispatcher.watermark(), 64, &mut items);
                        let left = round == 1 && gone[i];
                        let wants = !left && wants[i].iter().any(|(wk, ws)| *wk == k && ws.is_none_or(|ws| ws == s));
                        prop_assert_eq!(items.len(), usize::from(wants));
                    }
                }
            }
        }
    }
}
