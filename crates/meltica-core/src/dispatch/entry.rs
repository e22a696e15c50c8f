//! The entries of the routing table: the queues of one symbol, and those that leave it out.

use crate::bus::{ConflationCell, Queue, Waker};
use crate::event::{Kind, Payload};
use crate::filter::Filter;
use crate::names::{ProviderId, SymbolId};
use crate::pool::DepthClass;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};
use std::collections::HashMap;

pub(super) type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// Immutable, so plain reference counting is enough under loom too.
pub(super) type Filters = std::sync::Arc<[Filter]>;

pub(super) struct Target {
    pub queue: Arc<Queue>,
    pub waker: Arc<Waker>,
    pub cell: Arc<ConflationCell>,
    pub filters: Filters,
}

/// The targets of one symbol. Without targets, the symbol was routed before.
pub(super) struct Entry {
    pub symbol: SymbolId,
    /// For books: levels per side by class of the targets' queues, 0 for a class without a target.
    pub depths: [u32; DepthClass::COUNT],
    pub filtered: bool,
    pub blocking: bool,
    pub targets: Vec<Target>,
    /// The queues that leave the symbol out, with the filters of their routes.
    pub left_out: Vec<(Arc<Queue>, Filters)>,
    /// The queues that left the symbol out before and have lost events, which its next publisher reports to them.
    pub late: Vec<Arc<Queue>>,
    pub is_reported: AtomicBool,
    /// Whether no queue leaves the symbol out, or did before.
    pub is_whole: bool,
    /// The number of dispatched events, which only the holder of the dispatch lock changes. It belongs to the symbol:
    /// all publishers of a provider and all later entries share it.
    pub sequence: Arc<AtomicU64>,
}

/// The conditions of a route.
#[derive(Clone)]
pub(super) struct Terms {
    pub filters: Filters,
    pub depth: u32,
}

/// The routes of one subscriber in one part.
pub(super) struct Routes {
    pub queue: Arc<Queue>,
    pub exact: Map<SymbolId, Terms>,
    pub every: Option<Terms>,
}

impl Routes {
    pub fn new(queue: &Arc<Queue>) -> Self {
        Self { queue: Arc::clone(queue), exact: Map::default(), every: None }
    }

    /// Adds a route. The last of equal routes applies.
    pub fn add(&mut self, symbol: Option<SymbolId>, terms: Terms) {
        match symbol {
            Some(symbol) => drop(self.exact.insert(symbol, terms)),
            None => self.every = Some(terms),
        }
    }

    /// Returns the terms for a symbol. A route of the symbol takes precedence over one for every symbol.
    pub fn terms(&self, symbol: SymbolId) -> Option<&Terms> {
        self.exact.get(&symbol).or(self.every.as_ref())
    }
}

/// The subscribers of a part by their ids.
pub(super) type Subscribers = Vec<(u64, Arc<Routes>)>;

impl Entry {
    /// Builds the entry of a symbol. `old` is its former entry.
    pub fn build(
        (provider, kind): (ProviderId, Kind),
        symbol: SymbolId,
        subscribers: &Subscribers,
        old: Option<&Self>,
    ) -> Arc<Self> {
        let sequence = old.map_or_else(Arc::default, |old| Arc::clone(&old.sequence));
        let (depths, filtered, blocking) = ([0; DepthClass::COUNT], false, false);
        let mut entry = Self {
            symbol,
            depths,
            filtered,
            blocking,
            targets: Vec::new(),
            left_out: Vec::new(),
            late: Vec::new(),
            is_reported: AtomicBool::new(false),
            is_whole: true,
            sequence,
        };
        for (_, routes) in subscribers {
            let Some(Terms { filters, depth }) = routes.terms(symbol) else { continue };
            let queue = &routes.queue;
            let has_missed = old.is_some_and(|old| old.misses(queue));
            let Some(cell) = queue.admit(kind, provider, symbol) else {
                entry.left_out.push((Arc::clone(queue), Filters::clone(filters)));
                continue;
            };
            if has_missed && !queue.conflates(kind) {
                entry.late.push(Arc::clone(queue));
            }
            if kind == Kind::BookSnapshot {
                let class = queue.class();
                let deepest = &mut entry.depths[class.index()];
                *deepest = (*deepest).max((*depth).clamp(1, class.levels() as u32));
            }
            entry.filtered |= !filters.is_empty();
            entry.blocking |= queue.blocks(kind);
            entry.targets.push(Target {
                queue: Arc::clone(queue),
                waker: Arc::clone(queue.waker()),
                cell,
                filters: Filters::clone(filters),
            });
        }
        entry.is_whole = entry.left_out.is_empty() && entry.late.is_empty();
        Arc::new(entry)
    }

    /// Returns whether a queue leaves the symbol out, or did before and has no report of it.
    fn misses(&self, queue: &Arc<Queue>) -> bool {
        let is_late = || self.late.iter().any(|late| Arc::ptr_eq(late, queue));
        self.left_out.iter().any(|(left_out, _)| Arc::ptr_eq(left_out, queue))
            || (!self.is_reported.load(Ordering::Acquire) && is_late())
    }
}

impl Entry {
    /// Returns whether a queue is to receive the symbol, or leaves it out and counts its events.
    #[inline]
    pub fn is_wanted(&self) -> bool {
        !self.targets.is_empty() || !self.left_out.is_empty()
    }

    /// Counts an event at each queue that leaves its symbol out.
    pub fn count_left_out(&self, kind: Kind, payload: Option<&Payload>) {
        for (queue, filters) in &self.left_out {
            if payload.is_none_or(|payload| filters.iter().all(|filter| filter.matches(payload))) {
                queue.count_left_out(kind);
            }
        }
    }

    /// Returns the next provider sequence. The caller holds the dispatch lock.
    #[inline]
    pub fn next_sequence(&self) -> u64 {
        let next = self.sequence.load(Ordering::Relaxed) + 1;
        self.sequence.store(next, Ordering::Relaxed);
        next
    }
}
