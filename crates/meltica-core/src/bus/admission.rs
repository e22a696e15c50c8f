//! Admission: a queue computes what it can hold, reserves it, and gives cells only to a symbol that it has paid for.
//!
//! # The claim
//! - a ring of each policy in use, and one batch of it in the reader's hands;
//! - two events per cell: one in the cell, one in the reader's hands;
//! - the bytes of extensions: twice the limit of their ring, or two of the largest extensions per cell;
//! - as many books, of the class of the queue's depth, as of those events can be books.
//!
//! So a push needs no counter: the ring is bounded by its size, and a cell holds one event.
//!
//! # Notices
//! A symbol of a kind is admitted with the slots of all its cells, or it is left out: of the cell of its events if the
//! kind is conflated, and of the cells of the notices about it, also if its events are in a ring. So a reader that has
//! received a symbol always receives the notices about it.
//!
//! # Routes for every symbol
//! Such a route claims the symbols that its provider lists, or [`UNLISTED_SYMBOLS`]. Its claim is doubled once half of
//! it is used, on a thread that does not publish. A symbol beyond the claim is left out, and its events count as
//! dropped, until the claim has grown. While the pools are at their limit it stays left out;
//! [`crate::dispatch::Dispatcher::retry_growth`] admits it once they have room. The symbols that appeared first are admitted
//! first, whenever the claim grows.

use super::{ConflationCell, OverflowPolicy, Policies};
use crate::dispatch::RouteKey;
use crate::event::{Extension, Kind, Notice};
use crate::names::{ProviderId, SymbolId};
use crate::pool::{Claim, DepthClass, NoCapacity, Pools, Reservation};
use crate::sync::Arc;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Add;

/// The symbols that a route for every symbol claims if its provider lists none.
pub const UNLISTED_SYMBOLS: usize = 64;

/// The names of extensions that a route for every name claims. Only names that other routes select have a cell each.
const EXTENSION_NAMES: usize = 8;

/// The bytes of waiting extensions per place of a ring. A ring has room for at least the largest extension.
const EXTENSION_BYTES: usize = 512;

/// The rules and the size of a queue.
#[derive(Debug, Clone, Copy)]
pub struct QueueOptions {
    /// The policy of each kind.
    pub policies: Policies,
    /// Events in each ring, rounded up to a power of two.
    pub capacity: usize,
    /// The most events that the reader takes out of a ring at once.
    pub batch: usize,
    /// The private events that may wait. One more halts the queue.
    pub private_limit: usize,
    /// Levels per side of the delivered books.
    pub depth: u32,
}

impl QueueOptions {
    /// Returns the policy of every kind in a queue with these routes. Where market events wait for their reader, as in
    /// a replay, notices wait too; elsewhere they are conflated.
    pub(super) fn policies(&self, routes: &[RouteKey]) -> Policies {
        let mut policies = self.policies;
        let notices = if uses(&policies, routes, OverflowPolicy::Block) {
            OverflowPolicy::Block
        } else {
            OverflowPolicy::Conflate
        };
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_notice()) {
            policies[kind as usize] = notices;
        }
        policies
    }

    /// Returns the slots of the cells of one symbol of a kind.
    fn symbol(&self, kind: Kind) -> Claim {
        cells(kind).map(|kind| self.cell(kind) * 2).fold(Claim::default(), Claim::add)
    }

    /// Returns whether the symbols of a kind have no cells.
    fn is_free(&self, kind: Kind) -> bool {
        !cells(kind).any(|kind| has(&self.policies, kind, OverflowPolicy::Conflate))
    }

    /// Returns the slots of the event in a cell of a kind: none if the kind is not conflated.
    fn cell(&self, kind: Kind) -> Claim {
        let count = usize::from(has(&self.policies, kind, OverflowPolicy::Conflate));
        let bytes = if kind == Kind::Extension { count * Extension::MAX_COST } else { 0 };
        Claim { extension_bytes: bytes, ..self.slots(kind, count) }
    }

    /// Returns whether extensions of the routes wait in a ring.
    pub(super) fn queues_extensions(&self, routes: &[RouteKey]) -> bool {
        let is_conflated = has(&self.policies, Kind::Extension, OverflowPolicy::Conflate);
        !is_conflated && routes.iter().any(|key| key.kind == Kind::Extension)
    }

    /// Returns the most bytes of extensions that wait in the ring.
    pub(super) fn extension_bytes(&self) -> usize {
        (self.capacity.next_power_of_two() * EXTENSION_BYTES).max(Extension::MAX_COST)
    }

    /// Returns the slots of `count` events of a kind.
    fn slots(&self, kind: Kind, count: usize) -> Claim {
        let books = if kind == Kind::BookSnapshot { count } else { 0 };
        Claim::new(count, DepthClass::of(self.depth), books)
    }
}

/// Returns whether a market route has the policy. Extensions have a ring of their own.
pub(super) fn uses(policies: &Policies, routes: &[RouteKey], policy: OverflowPolicy) -> bool {
    routes.iter().any(|key| key.kind != Kind::Extension && has(policies, key.kind, policy))
}

/// Returns the kinds of the cells of one symbol of a kind, its notices included.
fn cells(kind: Kind) -> impl Iterator<Item = Kind> {
    kind.notices().iter().map(|notice| notice.kind()).chain([kind])
}

fn has(policies: &Policies, kind: Kind, policy: OverflowPolicy) -> bool {
    !kind.is_private() && policies[kind as usize] == policy
}

/// Returns the slots of the rings, and those that the reader takes out of them at once.
fn rings(options: &QueueOptions, routes: &[RouteKey]) -> (Claim, Claim) {
    let (mut rings, mut batches) = (Claim::default(), Claim::default());
    for policy in [OverflowPolicy::DropOldest, OverflowPolicy::Block] {
        let kinds = routes.iter().map(|key| key.kind).filter(|kind| *kind != Kind::Extension);
        let mut kinds = kinds.filter(|kind| has(&options.policies, *kind, policy));
        if let Some(kind) = kinds.clone().find(|kind| *kind == Kind::BookSnapshot).or_else(|| kinds.next()) {
            rings += options.slots(kind, options.capacity.next_power_of_two());
            batches += options.slots(kind, options.batch);
        }
    }
    if options.queues_extensions(routes) {
        let extension_bytes = options.extension_bytes();
        let slots = |count| Claim { extension_bytes, ..options.slots(Kind::Extension, count) };
        rings += slots(options.capacity.next_power_of_two());
        batches += slots(options.batch);
    }
    (rings, batches)
}

/// A symbol of a kind of a provider.
type CellKey = (ProviderId, Kind, SymbolId);

/// The symbols that a route for every symbol has paid for, and the admitted ones.
#[derive(Debug, Clone, Copy)]
struct Credit {
    claimed: usize,
    used: usize,
    /// Symbols beyond the claim.
    left_out: usize,
    /// The least number of symbols that the route will match.
    expected: usize,
}

impl Credit {
    fn is_half_used(&self) -> bool {
        self.expected.max(self.used + self.left_out) * 2 >= self.claimed
    }

    const fn has_room(&self) -> bool {
        self.used < self.claimed
    }

    /// Returns whether there is room beside that of the symbols that are left out, which appeared earlier.
    const fn has_room_for_new(&self) -> bool {
        self.used + self.left_out < self.claimed
    }
}

/// The cells of a queue, and the reservation of all its slots.
pub(super) struct Admission {
    options: QueueOptions,
    /// The claim, and what was added for routes for every symbol. Empty once everything is home.
    reservations: Vec<Reservation>,
    /// What the reader can hold: one batch, and one event per admitted symbol.
    reader: Claim,
    /// The cells of the admitted symbols.
    cells: HashMap<CellKey, Arc<ConflationCell>, foldhash::fast::RandomState>,
    /// The cells of notices that were published. The kinds of a symbol share them, and each kind has paid for them.
    notices: HashMap<(ProviderId, Notice, SymbolId), Arc<ConflationCell>, foldhash::fast::RandomState>,
    /// The cell of everything that is not conflated. It stays empty.
    no_cell: Arc<ConflationCell>,
    credits: BTreeMap<(ProviderId, Kind), Credit>,
    left_out: BTreeSet<CellKey>,
    refused: Option<NoCapacity>,
    has_reader: bool,
    is_drained: bool,
}

impl Admission {
    /// Reserves the claim of a queue with these options and routes. The policies are those of the queue.
    pub fn new(
        pools: &Arc<Pools>,
        options: QueueOptions,
        routes: &[RouteKey],
        listed: impl Fn(ProviderId) -> Option<usize>,
    ) -> Result<Self, NoCapacity> {
        let (mut claim, reader) = rings(&options, routes);
        claim += reader;
        let mut admission = Self {
            options,
            reservations: Vec::new(),
            reader,
            cells: HashMap::default(),
            notices: HashMap::default(),
            no_cell: Arc::default(),
            credits: BTreeMap::new(),
            left_out: BTreeSet::new(),
            refused: None,
            has_reader: true,
            is_drained: false,
        };
        for key in routes {
            let symbols = if let Some(symbol) = key.symbol {
                let cell = (key.provider, key.kind, symbol);
                let is_new = !admission.cells.contains_key(&cell);
                if is_new {
                    admission.add(cell);
                }
                usize::from(is_new)
            } else {
                let claimed = match key.kind {
                    Kind::Extension => EXTENSION_NAMES,
                    _ => listed(key.provider).unwrap_or(UNLISTED_SYMBOLS).max(1),
                };
                let credit = Credit { claimed, used: 0, left_out: 0, expected: 0 };
                if admission.credits.insert((key.provider, key.kind), credit).is_none() { claimed } else { 0 }
            };
            claim += options.symbol(key.kind) * symbols;
        }
        admission.reservations.push(Pools::reserve(pools, claim)?);
        Ok(admission)
    }

    /// Admits a symbol and returns its cell.
    fn add(&mut self, key: CellKey) -> Arc<ConflationCell> {
        let held = self.options.cell(key.1);
        let cell = if held == Claim::default() { Arc::clone(&self.no_cell) } else { Arc::default() };
        self.reader += held;
        self.cells.insert(key, Arc::clone(&cell));
        cell
    }

    /// Returns the cell of a symbol, or `None` if the symbol is left out.
    pub fn admit(&mut self, key: CellKey) -> Option<Arc<ConflationCell>> {
        if let Some(cell) = self.cells.get(&key) {
            return Some(Arc::clone(cell));
        }
        if self.options.is_free(key.1) {
            return Some(Arc::clone(&self.no_cell));
        }
        let credit = self.credits.get_mut(&(key.0, key.1))?;
        let waits = self.left_out.contains(&key);
        let has_room = if waits { credit.has_room() } else { credit.has_room_for_new() };
        if !has_room {
            credit.left_out += usize::from(self.left_out.insert(key));
            return None;
        }
        credit.used += 1;
        credit.left_out -= usize::from(self.left_out.remove(&key));
        Some(self.add(key))
    }

    /// Returns the cell of the notices about an admitted symbol, which has paid for it.
    pub fn notice_cell(&mut self, key: (ProviderId, Notice, SymbolId)) -> Arc<ConflationCell> {
        let held = self.options.cell(key.1.kind());
        if self.is_drained || held == Claim::default() {
            return Arc::clone(&self.no_cell);
        }
        let reader = &mut self.reader;
        let cell = self.notices.entry(key).or_insert_with(|| {
            *reader += held;
            Arc::default()
        });
        Arc::clone(cell)
    }

    /// Expects a route for every symbol to match `symbols` of them.
    pub fn expect(&mut self, route: (ProviderId, Kind), symbols: usize) {
        self.credits.entry(route).and_modify(|credit| credit.expected = symbols);
    }

    /// Returns whether a route for every symbol has used half of its claim, and its claim may grow.
    pub fn wants_growth(&self) -> bool {
        self.refused.is_none() && !self.is_drained && self.credits.values().any(Credit::is_half_used)
    }

    /// Forgets that the growth was refused, so that it is tried again.
    pub fn retry(&mut self) {
        self.refused = None;
    }

    /// Returns what a claim of twice the symbols adds to the routes that have used half of theirs.
    pub fn growth(&self) -> Option<Growth> {
        if !self.wants_growth() {
            return None;
        }
        let grows = self.credits.iter().filter(|(_, credit)| credit.is_half_used());
        let routes: Vec<_> = grows.map(|(route, credit)| (*route, credit.claimed)).collect();
        let claims = routes.iter().map(|((_, kind), symbols)| self.options.symbol(*kind) * *symbols);
        let claim = claims.fold(Claim::default(), Claim::add);
        Some(Growth { pools: Arc::clone(self.reservations.first()?.pools()), claim, routes })
    }

    /// Adds a growth that was reserved, or keeps the refusal.
    pub fn grow(&mut self, growth: &Growth, reserved: Result<Reservation, NoCapacity>) {
        match reserved {
            // A queue that was closed meanwhile holds nothing.
            Ok(_) if self.is_drained => {}
            Ok(reservation) => {
                self.reservations.push(reservation);
                for (route, symbols) in &growth.routes {
                    self.credits.entry(*route).and_modify(|credit| credit.claimed += symbols);
                }
            }
            Err(refused) => self.refused = Some(refused),
        }
    }

    /// Returns whether a symbol that was left out has room now.
    pub fn has_room_for_left_out(&self) -> bool {
        self.credits.values().any(|credit| credit.left_out > 0 && credit.has_room())
    }

    /// Releases what a closed and drained queue no longer needs: all but what its reader can hold, if it has one.
    pub fn drained(&mut self) {
        self.is_drained = true;
        self.cells.clear();
        self.notices.clear();
        self.credits.clear();
        self.release();
    }

    /// Releases what the reader could hold, once the queue is drained too.
    pub fn reader_dropped(&mut self) {
        self.has_reader = false;
        self.release();
    }

    fn release(&mut self) {
        if self.is_drained {
            self.reservations.truncate(usize::from(self.has_reader));
            if let Some(reservation) = self.reservations.first_mut() {
                reservation.shrink_to(self.reader);
            }
        }
    }

    /// Returns the symbols that are left out, by provider, kind and name.
    pub fn left_out(&self) -> &BTreeSet<CellKey> {
        &self.left_out
    }

    /// Returns why the claim did not grow, if it did not.
    pub fn refused(&self) -> Option<NoCapacity> {
        self.refused
    }

    /// Returns the reserved slots.
    pub fn claim(&self) -> Claim {
        self.reservations.iter().map(Reservation::claim).fold(Claim::default(), Claim::add)
    }
}

/// An addition to the claim of a queue.
pub(super) struct Growth {
    pub pools: Arc<Pools>,
    pub claim: Claim,
    /// Symbols added to routes for every symbol.
    routes: Vec<((ProviderId, Kind), usize)>,
}
