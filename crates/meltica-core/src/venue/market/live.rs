//! A market that is told, with all that goes wrong on the way.

use super::behavior::{Behavior, Connection, Failure, Requests};
use super::machine::Market;
use super::options::OptionErrors;
use super::orders::{Refusal, Request};
use super::sink::Sink;
use crate::event::Nanos;
use crate::venue::{AccountId, OrderId};

/// What a market is told through: readers in this process, or frames.
pub trait Outlet: Sink {
    /// Returns when something of its own is due: what it owes, or what arrives.
    fn next_due(&self) -> Nanos;
    /// Does what is due by `now`.
    fn tick(&mut self, market: &Market, now: Nanos);
    /// All connections are cut: what is on its way is lost, and nothing is told until [`Self::restored`]. Returns since
    /// when clients have missed something.
    fn cut(&mut self, market: &Market, now: Nanos) -> Nanos;
    /// The venue is back; clients have missed what happened since `since`.
    fn restored(&mut self, market: &Market, since: Nanos);
    /// Tells every instrument.
    fn instruments(&mut self, market: &Market);
    /// Tells every balance.
    fn balances(&mut self, market: &Market);
    /// Has other faults from now on.
    fn behave(&mut self, behavior: Behavior);
}

/// How often all of something is told again, in virtual time; 0 is never.
#[derive(Debug, Clone, Copy)]
pub struct Reminders {
    /// The instruments.
    pub instruments: Nanos,
    /// The balances.
    pub balances: Nanos,
}

/// Something that is done again and again.
#[derive(Debug, Clone, Copy)]
struct Every {
    interval: Nanos,
    next: Nanos,
}

impl Every {
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

/// A market, its clock and its faults. The same seed, the same requests at the same virtual times and the same draws
/// of [`Self::fate`] give the same, however the way there was divided.
#[derive(Debug, Clone)]
pub struct Live {
    market: Market,
    behavior: Behavior,
    requests: Requests,
    connection: Connection,
    /// From when on clients may have missed something.
    away_since: Nanos,
    /// How often all connections were cut.
    cuts: u64,
    instruments: Every,
    balances: Every,
}

impl Live {
    /// Takes a market over. `seed` is that of its faults.
    pub fn new(market: Market, seed: u64, behavior: Behavior, reminders: Reminders) -> Self {
        let now = market.now();
        Self {
            market,
            behavior,
            requests: Requests::new(seed),
            connection: Connection::new(seed, now),
            away_since: now,
            cuts: 0,
            instruments: Every::new(reminders.instruments, now),
            balances: Every::new(reminders.balances, now),
        }
    }

    /// Returns the market.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Returns the faults of now.
    pub fn behavior(&self) -> Behavior {
        self.behavior
    }

    /// Returns whether clients are connected.
    pub fn is_connected(&self) -> bool {
        self.connection.away_until.is_none()
    }

    /// Returns how often all connections were cut: whoever looks now and then misses no short absence by it.
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Returns when something is due next, where its outlet's next is due at `outlet`.
    pub fn next_due(&self, outlet: Nanos) -> Nanos {
        self.market.next_due().min(self.interruption(outlet))
    }

    fn interruption(&self, outlet: Nanos) -> Nanos {
        outlet.min(self.connection.next_due()).min(self.instruments.next).min(self.balances.next)
    }

    /// Does all that is due up to `until`, which is the time then.
    pub fn advance(&mut self, until: Nanos, outlet: &mut (impl Outlet + ?Sized)) {
        loop {
            let (action, other) = (self.market.next_due(), self.interruption(outlet.next_due()));
            if action.min(other) > until {
                break;
            }
            if action < other {
                // One instant: what it leads to may be due before the next.
                self.market.advance(action, outlet);
            } else {
                self.market.advance_clock(other);
                self.interrupt(other, outlet);
            }
        }
        self.market.advance(until, outlet);
    }

    fn interrupt(&mut self, now: Nanos, outlet: &mut (impl Outlet + ?Sized)) {
        outlet.tick(&self.market, now);
        if self.connection.away_until.is_some_and(|back| back <= now) {
            self.connection.away_until = None;
            outlet.restored(&self.market, self.away_since);
        }
        if self.connection.next_draw <= now
            && self.connection.draw(&self.behavior)
            && self.connection.away_until.is_none()
        {
            self.disconnect(self.behavior.disconnect_for, outlet);
        }
        if self.instruments.is_due(now) {
            outlet.instruments(&self.market);
        }
        if self.balances.is_due(now) {
            outlet.balances(&self.market);
        }
    }

    /// Cuts all connections for so long. While they are cut already, it changes how long.
    pub fn disconnect(&mut self, duration: Nanos, outlet: &mut (impl Outlet + ?Sized)) {
        let now = self.market.now();
        if self.is_connected() {
            self.cuts += 1;
            self.away_since = outlet.cut(&self.market, now);
        }
        self.connection.away_until = Some(now.saturating_add(duration));
    }

    /// As [`Market::rest`].
    pub fn rest(&mut self, resting: bool) {
        self.market.rest(resting);
    }

    /// Has other faults from now on.
    ///
    /// # Errors
    /// What is wrong with them; then nothing changes.
    pub fn behave(
        &mut self,
        behavior: Behavior,
        outlet: &mut (impl Outlet + ?Sized),
    ) -> Result<(), OptionErrors> {
        behavior.check()?;
        self.behavior = behavior;
        outlet.behave(behavior);
        Ok(())
    }

    /// Draws how long a request takes to come, in virtual time, and whether and where it fails.
    pub fn fate(&mut self) -> (Nanos, Option<Failure>) {
        self.requests.fate(&self.behavior)
    }

    /// As [`Market::submit`], unless the venue's mood rejects it.
    ///
    /// # Errors
    /// Why it is refused.
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

    /// As [`Market::cancel`].
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

    /// As [`Market::amend`].
    ///
    /// # Errors
    /// Why it stays as it is.
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
