//! A simulated venue: a market with simulated faults between it and its clients.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use super::behavior::{Behavior, Connection, Failure, Requests};
use super::budget::Budget;
use super::late::{Change, Late, LateRequest, LostAnswers, RequestKind};
use super::machine::Market;
use super::options::OptionErrors;
use super::orders::{Refusal, Request};
use super::sink::Sink;
use crate::event::Nanos;
use crate::venue::{AccountId, OrderId};

/// Delivers the events of a market to clients: readers in this process, or frames.
pub trait Outlet: Sink {
    /// Returns when a pending publication or an arriving message is due.
    fn next_due(&self) -> Nanos;
    /// Publishes and delivers everything due by `now`. Returns false if the budget ended before; the next call goes on.
    fn tick(&mut self, market: &Market, now: Nanos, budget: &mut Budget) -> bool;
    /// Cuts all connections. Messages in flight are lost, and nothing is sent until [`Self::restored`]. Returns the
    /// time from which clients may have missed messages.
    fn cut(&mut self, market: &Market, now: Nanos) -> Nanos;
    /// Accepts connections again. Clients may have missed messages since `since`.
    fn restored(&mut self, market: &Market, since: Nanos);
    /// Lets the next ticks publish every instrument.
    fn instruments(&mut self, market: &Market);
    /// Lets the next ticks publish every balance.
    fn balances(&mut self, market: &Market);
    /// Changes the simulated faults.
    fn set_behavior(&mut self, behavior: Behavior);
    /// Loses the reports and balances of accounts from now on, or sends them again. Connections stay open.
    fn set_muted(&mut self, muted: bool);
}

/// Virtual time between full publications; 0 disables them.
#[derive(Debug, Clone, Copy)]
pub struct RefreshIntervals {
    /// Of the instruments.
    pub instruments: Nanos,
    /// Of the balances.
    pub balances: Nanos,
}

/// A periodic task.
#[derive(Debug, Clone, Copy)]
struct Periodic {
    interval: Nanos,
    next: Nanos,
}

impl Periodic {
    fn new(interval: Nanos, now: Nanos) -> Self {
        let next = if interval > 0 { now.saturating_add(interval) } else { Nanos::MAX };
        Self { interval, next }
    }

    fn is_due(&mut self, now: Nanos) -> bool {
        let due = self.next <= now;
        if due {
            self.next = self.next.saturating_add(self.interval);
        }
        due
    }
}

/// A market, its clock and its simulated faults.
///
/// The same seed, the same requests at the same virtual times and the same number of [`Self::request_fate`] calls give
/// the same events, independent of how the time in between was divided.
#[derive(Debug, Clone)]
pub struct SimulatedVenue {
    market: Market,
    behavior: Behavior,
    requests: Requests,
    late: Late,
    connection: Connection,
    /// Whether reports and balances of accounts are lost.
    muted: bool,
    /// The time from which clients may have missed messages.
    disconnected_since: Nanos,
    /// Number of disconnects so far.
    cuts: u64,
    instruments: Periodic,
    balances: Periodic,
    /// The time whose actions a budget interrupted. They go on before anything else.
    interrupted: Option<Nanos>,
}

impl SimulatedVenue {
    /// Returns a venue for a market. `seed` determines the simulated faults.
    pub fn new(market: Market, seed: u64, behavior: Behavior, refresh: RefreshIntervals) -> Self {
        let now = market.now();
        Self {
            market,
            behavior,
            requests: Requests::new(seed),
            late: Late::default(),
            connection: Connection::new(seed, now),
            muted: false,
            disconnected_since: now,
            cuts: 0,
            instruments: Periodic::new(refresh.instruments, now),
            balances: Periodic::new(refresh.balances, now),
            interrupted: None,
        }
    }

    /// Returns the market.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Returns the current simulated faults.
    pub fn behavior(&self) -> Behavior {
        self.behavior
    }

    /// Returns whether clients are connected.
    pub fn is_connected(&self) -> bool {
        self.connection.disconnected_until.is_none()
    }

    /// Returns the number of disconnects so far. Callers that poll it detect short disconnects as well.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Returns the next due time; `outlet` is that of the outlet.
    pub fn next_due(&self, outlet: Nanos) -> Nanos {
        self.market.next_due().min(self.interruption(outlet))
    }

    fn interruption(&self, outlet: Nanos) -> Nanos {
        let own = self.connection.next_due().min(self.late.next_due());
        outlet.min(own).min(self.instruments.next).min(self.balances.next)
    }

    /// Executes everything due up to `until` and sets the clock to it.
    pub fn advance(&mut self, until: Nanos, outlet: &mut (impl Outlet + ?Sized)) {
        self.advance_within(until, outlet, Budget::unlimited());
    }

    /// Advances like [`Self::advance`], in the same order. Returns false if the budget ended before.
    pub fn advance_within(
        &mut self,
        until: Nanos,
        outlet: &mut (impl Outlet + ?Sized),
        mut budget: Budget,
    ) -> bool {
        loop {
            let (action, other) = (self.market.next_due(), self.interruption(outlet.next_due()));
            if action.min(other) > until {
                break;
            }
            if action < other || self.interrupted.is_some_and(|instant| instant == action) {
                // One instant only: its consequences may be due before the next action.
                self.interrupted = Some(action);
                if !self.market.advance_within(action, outlet, &mut budget) {
                    return false;
                }
                self.interrupted = None;
            } else {
                if budget.is_spent() {
                    return false;
                }
                self.market.advance_clock(other);
                if !self.interrupt(other, outlet, &mut budget) {
                    return false;
                }
            }
        }
        self.market.advance(until, outlet);
        true
    }

    /// Publishes what is due now. Returns false if the budget ended before.
    pub fn publish_within(&self, outlet: &mut (impl Outlet + ?Sized), mut budget: Budget) -> bool {
        outlet.tick(&self.market, self.market.now(), &mut budget)
    }

    fn interrupt(&mut self, now: Nanos, outlet: &mut (impl Outlet + ?Sized), budget: &mut Budget) -> bool {
        if !outlet.tick(&self.market, now, budget) {
            return false;
        }
        while let Some(LateRequest { account, change }) = self.late.due(now) {
            // The answer is lost; a refused order is reported.
            let _answer = match change {
                Change::Submit(pair, request) => self.submit(account, pair, &request, outlet).map(|_| ()),
                Change::Cancel(id) => self.cancel(account, &id, outlet),
                Change::Amend(id, price, quantity) => self.amend(account, &id, price, quantity, outlet),
            };
        }
        if self.connection.disconnected_until.is_some_and(|back| back <= now) {
            self.connection.disconnected_until = None;
            outlet.restored(&self.market, self.disconnected_since);
        }
        if self.connection.next_draw <= now
            && self.connection.draw(&self.behavior)
            && self.connection.disconnected_until.is_none()
        {
            self.disconnect(self.behavior.disconnect_for, outlet);
        }
        if self.instruments.is_due(now) {
            outlet.instruments(&self.market);
        }
        if self.balances.is_due(now) {
            outlet.balances(&self.market);
        }
        true
    }

    /// Cuts all connections for a duration. During a disconnect, changes its end.
    pub fn disconnect(&mut self, duration: Nanos, outlet: &mut (impl Outlet + ?Sized)) {
        let now = self.market.now();
        if self.is_connected() {
            self.cuts += 1;
            self.disconnected_since = outlet.cut(&self.market, now);
        }
        self.connection.disconnected_until = Some(now.saturating_add(duration));
    }

    /// See [`Market::pause_background`].
    pub fn pause_background(&mut self, paused: bool) {
        self.market.pause_background(paused);
    }

    /// Changes the simulated faults.
    ///
    /// # Errors
    /// All faults of the values; nothing changed in this case.
    pub fn set_behavior(
        &mut self,
        behavior: Behavior,
        outlet: &mut (impl Outlet + ?Sized),
    ) -> Result<(), OptionErrors> {
        behavior.check()?;
        self.behavior = behavior;
        outlet.set_behavior(behavior);
        Ok(())
    }

    /// Draws a request's latency, in virtual time, and its failure. `kind` is that of a request that changes something.
    pub fn request_fate(&mut self, kind: Option<RequestKind>) -> (Nanos, Option<Failure>) {
        let (latency, failure) = self.requests.draw(&self.behavior);
        let lost = kind.filter(|_| failure.is_none()).and_then(|kind| self.late.take(kind));
        let lost = lost.map(|lost| match lost.carried_out_after {
            None => Failure::Never,
            Some(0) => Failure::After,
            Some(delay) => Failure::Later(delay),
        });
        (latency, failure.or(lost))
    }

    /// Loses the answers to the next requests of a kind.
    ///
    /// # Errors
    /// A delay below 0 or above ten seconds; nothing changed in this case.
    pub fn lose_answers(&mut self, kind: RequestKind, lost: LostAnswers) -> Result<(), OptionErrors> {
        match lost.carried_out_after {
            Some(delay) if !(0..=Late::MAX_DELAY).contains(&delay) => {
                Err(OptionErrors(vec![format!("delay: expected 0 to 10 s, saw {delay} ns")]))
            }
            _ => {
                self.late.lose(kind, lost);
                Ok(())
            }
        }
    }

    /// Returns the requests of a kind whose answers are still to be lost.
    pub fn lost_answers(&self, kind: RequestKind) -> LostAnswers {
        self.late.lost(kind)
    }

    /// Carries out a request after a delay.
    pub fn later(&mut self, delay: Nanos, request: LateRequest) {
        self.late.put(self.market.now().saturating_add(delay), request);
    }

    /// Returns whether reports and balances of accounts are lost.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Loses the reports and balances of accounts from now on, or sends them again.
    pub fn mute(&mut self, muted: bool, outlet: &mut (impl Outlet + ?Sized)) {
        self.muted = muted;
        outlet.set_muted(muted);
    }

    /// Returns the market, for what its operator does.
    pub fn market_mut(&mut self) -> &mut Market {
        &mut self.market
    }

    /// Submits an order like [`Market::submit`], or rejects it as a simulated fault.
    ///
    /// # Errors
    /// The reason for the refusal.
    pub fn submit(
        &mut self,
        account: AccountId,
        pair: usize,
        request: &Request,
        outlet: &mut (impl Outlet + ?Sized),
    ) -> Result<OrderId, Refusal> {
        if self.requests.rejects(&self.behavior) {
            return Err(self.market.refuse(account, pair, request, outlet));
        }
        self.market.submit(account, pair, request, outlet)
    }

    /// See [`Market::cancel`].
    ///
    /// # Errors
    /// [`Refusal::UnknownOrder`].
    pub fn cancel(
        &mut self,
        account: AccountId,
        client_order_id: &str,
        outlet: &mut (impl Outlet + ?Sized),
    ) -> Result<(), Refusal> {
        self.market.cancel(account, client_order_id, outlet)
    }

    /// See [`Market::amend`].
    ///
    /// # Errors
    /// The reason for the refusal; the order is unchanged.
    pub fn amend(
        &mut self,
        account: AccountId,
        client_order_id: &str,
        price: Option<i64>,
        quantity: Option<i64>,
        outlet: &mut (impl Outlet + ?Sized),
    ) -> Result<(), Refusal> {
        self.market.amend(account, client_order_id, price, quantity, outlet)
    }
}
