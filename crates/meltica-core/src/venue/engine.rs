//! The matching engine: executes a command, updates book and ledger, and returns the outcomes.

use super::book::{Book, Order};
use super::fees::Fees;
use super::increments::InstrumentRules;
use super::ledger::{AccountId, AssetId, Ledger};
use super::order::{CloseReason, Command, Fill, NewOrder, OrderId, OrderKind, Outcome, Party, SelfTrade};
use super::{Reject, checks::Terms};
use crate::event::{Nanos, Side, TimeInForce};

/// The matching engine of one instrument. The [`super`] module describes its rules.
#[derive(Debug, Clone)]
pub struct Engine {
    rules: InstrumentRules,
    fees: Fees,
    self_trade: SelfTrade,
    base: AssetId,
    quote: AssetId,
    /// Smallest units of base per unit of quantity, and of quote per unit of notional.
    factors: (i128, i128),
    pub(super) book: Book,
    accepted: u64,
    trades: u64,
}

/// The smallest unit of an asset is too coarse for an instrument's amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{asset} asset: expected {expected} to 28 digits after the point, so that amounts are exact, saw {actual}"
)]
pub struct ScaleError {
    /// `base` or `quote`.
    pub asset: &'static str,
    /// Minimum number of digits.
    pub expected: u8,
    /// The asset's number of digits.
    pub actual: u8,
}

/// Returns the other side of the book.
#[inline]
pub(super) const fn opposite(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}

impl Engine {
    /// Returns an engine with an empty book for `capacity` orders; the book grows beyond that. Orders trade `base`
    /// against `quote` of `ledger`. Every later call must pass the same ledger.
    ///
    /// # Errors
    /// When an asset is too coarse: base needs the digits of a quantity, quote those of price and quantity together.
    pub fn new(
        rules: InstrumentRules,
        fees: Fees,
        self_trade: SelfTrade,
        ledger: &Ledger,
        [base, quote]: [AssetId; 2],
        capacity: usize,
    ) -> Result<Self, ScaleError> {
        let factor = |asset, id, expected: u8| {
            let actual = ledger.scale(id);
            let digits =
                actual.checked_sub(expected).filter(|_| actual <= crate::decimal::Decimal::MAX_SCALE);
            digits.map(|digits| 10i128.pow(u32::from(digits))).ok_or(ScaleError { asset, expected, actual })
        };
        let factors = (
            factor("base", base, rules.quantity_scale)?,
            factor("quote", quote, rules.price_scale + rules.quantity_scale)?,
        );
        let book = Book::with_capacity(capacity.min(OrderId::MAX_SLOTS));
        Ok(Self { rules, fees, self_trade, base, quote, factors, book, accepted: 0, trades: 0 })
    }

    /// Executes `command` at `now` and appends its outcomes to `out`.
    ///
    /// # Panics
    /// When `ledger` is not the ledger that the engine was created with.
    pub fn process(&mut self, ledger: &mut Ledger, command: Command, now: Nanos, out: &mut Vec<Outcome>) {
        let result = match command {
            Command::New(order) => self.submit(ledger, &order, now, out),
            Command::Cancel(order) => self.cancel(ledger, order, out),
            Command::Amend { order, price, quantity } => self.amend(ledger, order, price, quantity, now, out),
        };
        if let Err(reject) = result {
            out.push(Outcome::Rejected(reject));
        }
    }

    fn submit(
        &mut self,
        ledger: &mut Ledger,
        new: &NewOrder,
        now: Nanos,
        out: &mut Vec<Outcome>,
    ) -> Result<(), Reject> {
        let NewOrder { side, quantity, kind, account, tag, .. } = *new;
        let self_trade = new.self_trade.unwrap_or(self.self_trade);
        self.admit(ledger, &Terms::new(new, self_trade))?; // 1
        let rests = matches!(
            kind,
            OrderKind::Limit { time_in_force: TimeInForce::Gtc, .. } | OrderKind::PostOnly { .. }
        );
        let slot = rests.then(|| self.book.allocate());
        self.accepted += 1;
        let id = OrderId::new(self.accepted, slot.unwrap_or(OrderId::MAX_SLOTS as u32 - 1));
        out.push(Outcome::Accepted { order: id, tag, account });
        let mut order = Order {
            id,
            remaining: quantity,
            quantity,
            tag,
            since: now,
            account,
            carry: 0,
            side,
            post_only: matches!(kind, OrderKind::PostOnly { .. }),
            self_trade,
        };
        let stopped = self.take(ledger, &mut order, kind.price(), out);
        match (slot, kind.price()) {
            (Some(slot), Some(price)) => self.settle_in(ledger, slot, &order, price, stopped, out),
            _ => close(&order, if stopped { CloseReason::SelfTrade } else { CloseReason::Remainder }, out), // 4
        }
        Ok(())
    }

    /// Rests the remainder of an order in its slot, or frees the slot.
    pub(super) fn settle_in(
        &mut self,
        ledger: &mut Ledger,
        slot: u32,
        order: &Order,
        price: i64,
        stopped: bool,
        out: &mut Vec<Outcome>,
    ) {
        if order.remaining == 0 || stopped {
            self.book.free(slot);
            return close(order, CloseReason::SelfTrade, out); // 6
        }
        let (asset, need) = self.need(order.side, price, order.remaining, order.carry, self.fees.maker());
        ledger.reserve(order.account, asset, need); // 10
        out.push(Outcome::Level(self.book.rest(slot, order, price))); // 4
    }

    fn cancel(&mut self, ledger: &mut Ledger, order: OrderId, out: &mut Vec<Outcome>) -> Result<(), Reject> {
        let slot = self.book.find(order).ok_or(Reject::UnknownOrder)?;
        let level = self.end(ledger, slot, CloseReason::Cancelled, out); // 7
        out.push(Outcome::Level(self.book.changed(level)));
        Ok(())
    }

    /// Ends an open order. The caller must pass the returned level to [`Book::changed`].
    pub(super) fn end(
        &mut self,
        ledger: &mut Ledger,
        slot: u32,
        reason: CloseReason,
        out: &mut Vec<Outcome>,
    ) -> u32 {
        let order = self.book.order(slot).order();
        let (asset, need) = self.reservation(slot);
        ledger.reserve(order.account, asset, -need); // 10
        close(&order, reason, out);
        self.book.remove(slot)
    }

    /// Fills an arriving order from the other side, best price first. Returns whether self-trade prevention stops the
    /// order.
    pub(super) fn take(
        &mut self,
        ledger: &mut Ledger,
        taker: &mut Order,
        limit: Option<i64>,
        out: &mut Vec<Outcome>,
    ) -> bool {
        let mut stopped = false;
        while taker.remaining > 0 && !stopped {
            let Some((price, level)) = self.book.best(opposite(taker.side)) else { break };
            if !reaches(taker.side, limit, price) {
                break;
            }
            let before = self.book.level(level);
            stopped = self.take_level(ledger, taker, price, level, out); // 2
            if self.book.level(level) != before {
                out.push(Outcome::Level(self.book.changed(level))); // 11
            }
        }
        stopped
    }

    /// Fills an arriving order from one level, oldest order first. Returns whether self-trade prevention stops the
    /// order.
    fn take_level(
        &mut self,
        ledger: &mut Ledger,
        taker: &mut Order,
        price: i64,
        level: u32,
        out: &mut Vec<Outcome>,
    ) -> bool {
        while taker.remaining > 0
            && let Some(slot) = self.book.front(level)
        {
            if taker.account == self.book.order(slot).account && is_own(taker) {
                if taker.self_trade != SelfTrade::ExpireTaker {
                    self.end(ledger, slot, CloseReason::SelfTrade, out); // 6
                }
                if taker.self_trade != SelfTrade::ExpireMaker {
                    return true;
                }
                continue;
            }
            let maker = self.book.order(slot);
            let quantity = taker.remaining.min(maker.remaining);
            let mut maker = maker.order();
            maker.remaining -= quantity;
            taker.remaining -= quantity;
            let (taker_fee, maker_fee) = self.exchange(ledger, taker, &mut maker, price, quantity); // 3
            self.trades += 1;
            let party = |order: &Order, (fee_asset, fee)| {
                let Order { id, tag, account, remaining, .. } = *order;
                Party { order: id, tag, account, fee_asset, remaining, fee }
            };
            out.push(Outcome::Filled(Fill {
                trade_id: self.trades,
                price,
                quantity,
                taker_side: taker.side,
                maker: party(&maker, maker_fee),
                taker: party(taker, taker_fee),
            }));
            self.book.order_mut(slot).carry = maker.carry;
            self.book.add_remaining(slot, -quantity);
            if maker.remaining == 0 {
                self.book.remove(slot);
            }
        }
        false
    }

    /// Transfers the amounts of a trade and returns the fees of taker and maker, each with its asset.
    #[inline]
    fn exchange(
        &self,
        ledger: &mut Ledger,
        taker: &mut Order,
        maker: &mut Order,
        price: i64,
        quantity: i64,
    ) -> ((AssetId, i128), (AssetId, i128)) {
        let base = i128::from(quantity) * self.factors.0;
        let quote = i128::from(price) * i128::from(quantity) * self.factors.1;
        let (buyer, seller) = match taker.side {
            Side::Buy => (taker.account, maker.account),
            Side::Sell => (maker.account, taker.account),
        };
        ledger.pay(seller, buyer, self.base, base);
        ledger.pay(buyer, seller, self.quote, quote);
        let taker_fee = self.charge(ledger, taker, self.fees.taker(), [base, quote]); // 9
        let maker_fee = self.charge(ledger, maker, self.fees.maker(), [base, quote]);
        // The maker's reservation covers this exactly: see `fees`.
        let gives = match maker.side {
            Side::Buy => quote,
            Side::Sell => base,
        };
        let on_top = if self.fees.on_top(maker.side) { maker_fee.1.max(0) } else { 0 };
        ledger.reserve(maker.account, self.given(maker.side), -(gives + on_top)); // 10
        (taker_fee, maker_fee)
    }

    /// Returns the asset and the amount that an order for `quantity` may have to pay, its fee included.
    #[inline]
    pub(super) fn need(
        &self,
        side: Side,
        price: i64,
        quantity: i64,
        carry: u32,
        rate: i32,
    ) -> (AssetId, i128) {
        self.need_for(side, i128::from(price) * i128::from(quantity), quantity, carry, rate)
    }

    /// Like [`Self::need`], for a given notional.
    #[inline]
    pub(super) fn need_for(
        &self,
        side: Side,
        notional: i128,
        quantity: i64,
        carry: u32,
        rate: i32,
    ) -> (AssetId, i128) {
        (self.given(side), self.need_under(&self.fees, side, notional, quantity, carry, rate))
    }

    /// Like [`Self::need_for`] under given fees. A rebate is not counted on.
    #[inline]
    pub(super) fn need_under(
        &self,
        fees: &Fees,
        side: Side,
        notional: i128,
        quantity: i64,
        mut carry: u32,
        rate: i32,
    ) -> i128 {
        let gives = match side {
            Side::Buy => notional * self.factors.1,
            Side::Sell => i128::from(quantity) * self.factors.0,
        };
        gives + if fees.on_top(side) && rate > 0 { fees.charge(gives, rate, &mut carry) } else { 0 }
    }

    /// Returns the reservation of the open order in a slot.
    #[inline]
    pub(super) fn reservation(&self, slot: u32) -> (AssetId, i128) {
        let order = self.book.order(slot);
        self.need(order.side, self.book.price_of(slot), order.remaining, order.carry, self.fees.maker())
    }

    #[inline]
    const fn given(&self, side: Side) -> AssetId {
        match side {
            Side::Buy => self.quote,
            Side::Sell => self.base,
        }
    }

    /// Returns the asset in which a side pays its fees; of [`super::FeeAsset::Other`], where it has too little of it.
    pub const fn fee_asset(&self, side: Side) -> AssetId {
        if self.fees.in_quote(side) { self.quote } else { self.base }
    }

    pub(super) const fn fees(&self) -> &Fees {
        &self.fees
    }

    pub(super) fn set_fees(&mut self, fees: Fees) {
        self.fees = fees;
    }

    pub(super) const fn factors(&self) -> (i128, i128) {
        self.factors
    }

    /// Whether a slot and an id are left for one more order.
    #[inline]
    pub(super) const fn has_room(&self) -> bool {
        self.accepted < OrderId::MAX_COUNT && self.book.has_slot()
    }

    #[cfg(test)]
    pub(super) fn set_accepted(&mut self, accepted: u64) {
        self.accepted = accepted;
    }

    /// Returns the base asset.
    pub const fn base(&self) -> AssetId {
        self.base
    }

    /// Returns the quote asset.
    pub const fn quote(&self) -> AssetId {
        self.quote
    }

    /// Returns the instrument's rules.
    pub const fn rules(&self) -> &InstrumentRules {
        &self.rules
    }
}

/// Whether an order of `side` with this limit may trade at `price`.
#[inline]
pub(super) fn reaches(side: Side, limit: Option<i64>, price: i64) -> bool {
    limit.is_none_or(|limit| match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    })
}

/// Whether self-trade prevention applies to an arriving order.
#[inline]
pub(super) fn is_own(taker: &Order) -> bool {
    taker.account != AccountId::OUTSIDE && taker.self_trade != SelfTrade::Allow
}

/// Appends the end of an order, unless it was filled.
#[inline]
fn close(order: &Order, reason: CloseReason, out: &mut Vec<Outcome>) {
    let Order { id, tag, account, remaining, .. } = *order;
    if remaining > 0 {
        out.push(Outcome::Closed { order: id, tag, account, unfilled: remaining, reason });
    }
}
