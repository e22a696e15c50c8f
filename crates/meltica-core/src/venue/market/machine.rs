//! The instruments and the clock.

use super::budget::Budget;
use super::options::{Listing, OptionErrors, Options};
use super::orders::Orders;
use super::pair::Pair;
use super::reporter::Reporter;
use super::sink::{Event, Sink};
use crate::event::Nanos;
use crate::venue::{AccountId, AssetId, InstrumentRules, Ledger, Outcome};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// A synthetic market. The [`super`] module describes it.
#[derive(Debug, Clone)]
pub struct Market {
    pub(super) now: Nanos,
    pub(super) pairs: Vec<Pair>,
    /// When each instrument has something due.
    due: BinaryHeap<Reverse<(Nanos, usize)>>,
    pub(super) ledger: Ledger,
    /// The assets' names, in the order of the ledger's.
    pub(super) assets: Vec<(String, AssetId)>,
    pub(super) orders: Orders,
    pub(super) reporter: Reporter,
    /// Number of deposits and withdrawals so far.
    pub(super) transfers: u64,
    /// Reused by every step.
    pub(super) outcomes: Vec<Outcome>,
    pub(super) touched: Vec<AccountId>,
}

impl Market {
    /// Minimum number of digits after the point of an asset.
    const DIGITS: u8 = 8;

    /// Returns a market at `options.start` with filled books.
    ///
    /// # Errors
    /// All faults of the options and the listings.
    pub fn new(options: &Options, listings: &[Listing]) -> Result<Self, OptionErrors> {
        options.check(listings)?;
        let mut faults = Vec::new();
        let mut scales: BTreeMap<&str, u8> = BTreeMap::new();
        let mut rules = Vec::new();
        for Listing { instrument, .. } in listings {
            match InstrumentRules::new(instrument) {
                Ok(rule) => {
                    let digits = [
                        (&instrument.base, rule.quantity_scale),
                        (&instrument.quote, rule.price_scale + rule.quantity_scale),
                    ];
                    for (asset, digits) in digits {
                        let scale = scales.entry(asset).or_insert(Self::DIGITS);
                        *scale = (*scale).max(digits);
                    }
                    rules.push(rule);
                }
                Err(errors) => faults.push(format!("symbols.{}: {errors}", instrument.symbol)),
            }
        }
        if !faults.is_empty() {
            return Err(OptionErrors(faults));
        }
        let ledger = Ledger::new(&scales.values().copied().collect::<Vec<_>>());
        let ids: BTreeMap<&str, AssetId> = scales.keys().copied().zip(ledger.assets()).collect();
        let mut pairs = Vec::new();
        for (index, (listing, rules)) in listings.iter().zip(rules).enumerate() {
            let assets = [&listing.instrument.base, &listing.instrument.quote].map(|name| ids[name.as_str()]);
            match Pair::new(index, options, listing, rules, &ledger, assets) {
                Ok(pair) => pairs.push(pair),
                Err(fault) => faults.push(fault),
            }
        }
        if !faults.is_empty() {
            return Err(OptionErrors(faults));
        }
        let mut market = Self {
            now: options.start,
            pairs,
            due: BinaryHeap::new(),
            ledger,
            assets: ids.into_iter().map(|(name, id)| (name.to_owned(), id)).collect(),
            orders: Orders::default(),
            reporter: Reporter::default(),
            transfers: 0,
            outcomes: Vec::new(),
            touched: Vec::new(),
        };
        for index in 0..market.pairs.len() {
            market.begin(index);
        }
        Ok(market)
    }

    /// Fills the book of a new instrument and runs the background until its statistics are stationary. Events are
    /// discarded, and the reference price is constant, so it has the configured value at the start.
    fn begin(&mut self, index: usize) {
        let start = self.now;
        self.now = start - self.pairs[index].flow.warm_up();
        let silent = &mut |_: &Pair, _, _: Event<'_>| {};
        loop {
            let pair = &mut self.pairs[index];
            let Some(command) = pair.flow.begin(&pair.engine) else { break };
            // The instrument's rules refuse background orders, so the book stays empty.
            if self.step(index, command, silent).is_err() {
                break;
            }
        }
        self.pairs[index].next_action = self.pairs[index].flow.next(self.now);
        while self.pairs[index].next_action <= start {
            self.now = self.pairs[index].next_action;
            self.act(index, silent);
        }
        self.now = start;
        let pair = &mut self.pairs[index];
        pair.tape = pair.tape.restarted(start);
        pair.quote = pair.quote_at(start);
        self.due.push(Reverse((pair.due(), index)));
    }

    /// Returns the virtual time.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Returns the instruments, in the order of the listings.
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Returns the next due time.
    pub fn next_due(&self) -> Nanos {
        self.due.peek().map_or(Nanos::MAX, |Reverse((time, _))| *time)
    }

    /// Executes everything due up to `until` and sets the clock to it. A time in the past has no effect.
    pub fn advance(&mut self, until: Nanos, sink: &mut (impl Sink + ?Sized)) {
        self.advance_within(until, sink, &mut Budget::unlimited());
    }

    /// Advances like [`Self::advance`]. Returns false if the budget ended before; the clock is then at the last action.
    pub(super) fn advance_within(
        &mut self,
        until: Nanos,
        sink: &mut (impl Sink + ?Sized),
        budget: &mut Budget,
    ) -> bool {
        while let Some(&Reverse((time, index))) = self.due.peek()
            && time <= until
        {
            if budget.is_spent() {
                return false;
            }
            self.now = time;
            let pair = &mut self.pairs[index];
            if pair.tape.closes() <= time {
                let closed = pair.tape.close();
                self.reschedule(index);
                if let Some(candle) = closed {
                    sink.on(&self.pairs[index], time, Event::Candle(candle));
                }
                continue;
            }
            self.act(index, sink);
            self.reschedule(index);
        }
        self.now = self.now.max(until);
        true
    }

    /// Executes one background action of an instrument and schedules the next.
    #[inline]
    fn act(&mut self, index: usize, sink: &mut (impl Sink + ?Sized)) {
        let (now, pair) = (self.now, &mut self.pairs[index]);
        let command = pair.flow.act(&pair.engine, now);
        pair.next_action = pair.flow.next(now);
        if let Some(command) = command {
            // A refused background order only frees its slot in the flow.
            let _refused = self.step(index, command, sink);
        }
    }

    /// Pauses or resumes the background traders. The clock, candles and accounts continue.
    pub fn pause_background(&mut self, paused: bool) {
        for pair in &mut self.pairs {
            if paused {
                pair.next_action = Nanos::MAX;
            } else if pair.next_action == Nanos::MAX {
                pair.next_action = pair.flow.next(self.now);
            }
        }
        self.due = self.pairs.iter().map(|pair| Reverse((pair.due(), pair.index()))).collect();
    }

    /// Sets the clock to `now`; nothing may be due until then.
    pub(super) fn advance_clock(&mut self, now: Nanos) {
        self.now = self.now.max(now);
    }

    /// Moves the due instrument to its next due time.
    #[inline]
    fn reschedule(&mut self, index: usize) {
        let due = self.pairs[index].due();
        if let Some(mut first) = self.due.peek_mut() {
            *first = Reverse((due, index));
        }
    }
}
