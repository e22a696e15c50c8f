//! Rule 1: the checks of an order before it changes anything.

use super::Reject;
use super::engine::{Engine, opposite, reaches};
use super::ledger::{AccountId, Ledger};
use super::order::{NewOrder, OrderKind, SelfTrade};
use crate::event::{Side, TimeInForce};

/// The terms of a new or amended order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub side: Side,
    pub account: AccountId,
    pub kind: OrderKind,
    pub self_trade: SelfTrade,
    /// Total quantity.
    pub quantity: i64,
    /// Quantity that can still trade.
    pub open: i64,
    /// What rounding up has charged in advance ([`super::fees`]).
    pub carry: u32,
    /// Quantity that already rests in the book.
    pub resting: i64,
    /// Amount that is already reserved.
    pub reserved: i128,
}

impl Terms {
    #[inline]
    pub fn new(order: &NewOrder, self_trade: SelfTrade) -> Self {
        let NewOrder { side, account, kind, quantity, .. } = *order;
        let open = quantity;
        Self { side, account, kind, self_trade, quantity, open, carry: 0, resting: 0, reserved: 0 }
    }
}

impl Engine {
    /// Refuses an order that fails a check of rule 1.
    #[inline]
    pub(super) fn admit(&self, ledger: &Ledger, terms: &Terms) -> Result<(), Reject> {
        if terms.account == AccountId::FEES || !ledger.has_account(terms.account) {
            return Err(Reject::UnknownAccount); // 1.1
        }
        self.check_rules(terms)?;
        self.check_sums(ledger, terms)?;
        match terms.kind {
            OrderKind::PostOnly { .. } if self.crosses(terms) => return Err(Reject::WouldCross), // 1.6, 5
            OrderKind::Limit { time_in_force: TimeInForce::Fok, .. } | OrderKind::Market { fok: true }
                if self.reach(terms).0 < terms.open =>
            {
                return Err(Reject::Unfillable); // 1.7
            }
            _ => {}
        }
        self.check_funds(ledger, terms)
    }

    #[inline]
    fn check_rules(&self, terms: &Terms) -> Result<(), Reject> {
        let rules = self.rules();
        let price = terms.kind.price();
        if terms.quantity <= 0 {
            return Err(Reject::InvalidQuantity); // 1.2
        }
        if let Some(price) = price {
            if price <= 0 {
                return Err(Reject::InvalidPrice); // 1.2
            }
            if rules.tick_size != 1 && price % rules.tick_size != 0 {
                return Err(Reject::TickSize); // 1.3
            }
        }
        if rules.lot_size != 1 && terms.quantity % rules.lot_size != 0 {
            return Err(Reject::LotSize); // 1.3
        }
        if terms.quantity < rules.min_quantity {
            return Err(Reject::MinQuantity); // 1.4
        }
        if terms.quantity > rules.max_quantity {
            return Err(Reject::MaxQuantity); // 1.4
        }
        // A market order is valued at the best opposite price. In an empty book it trades nothing.
        let value_at = price.or_else(|| self.book.best(opposite(terms.side)).map(|(best, _)| best));
        if value_at.is_some_and(|at| i128::from(at) * i128::from(terms.quantity) < rules.min_notional) {
            return Err(Reject::MinNotional); // 1.4
        }
        Ok(())
    }

    /// Refuses an order that could overflow any later sum or product.
    #[inline]
    fn check_sums(&self, ledger: &Ledger, terms: &Terms) -> Result<(), Reject> {
        // An amended order has a slot.
        if terms.resting == 0 && !self.has_room() {
            return Err(Reject::BookFull); // 1.5
        }
        let others = self.book.quantity(terms.side) - terms.resting;
        if others.checked_add(terms.open).is_none() {
            return Err(Reject::Overflow); // 1.5
        }
        let other = opposite(terms.side);
        let tradable = i128::from(terms.open.min(self.book.quantity(other)));
        // The highest price at which the order can trade.
        let highest = match terms.side {
            Side::Sell => self.book.best(other).map(|(best, _)| best),
            Side::Buy => terms.kind.price().or_else(|| self.book.ladder(other).worst().map(|key| -key)),
        };
        let notional = i128::from(highest.unwrap_or(0)) * tradable;
        let own = i128::from(terms.kind.price().unwrap_or(0)) * i128::from(terms.open);
        let (base_factor, quote_factor) = self.factors();
        let base = i128::from(terms.open).checked_mul(base_factor);
        let quote = notional.max(own).checked_mul(quote_factor);
        let fits = base.is_some_and(|base| ledger.has_room(self.base(), base))
            && quote.is_some_and(|quote| ledger.has_room(self.quote(), quote));
        if fits { Ok(()) } else { Err(Reject::Overflow) } // 1.5
    }

    #[inline]
    fn check_funds(&self, ledger: &Ledger, terms: &Terms) -> Result<(), Reject> {
        if !ledger.is_funded(terms.account) {
            return Ok(());
        }
        let fees = self.fees();
        let rate = match terms.kind {
            OrderKind::Limit { time_in_force: TimeInForce::Gtc, .. } if self.crosses(terms) => {
                fees.maker().max(fees.taker())
            }
            OrderKind::Limit { time_in_force: TimeInForce::Gtc, .. } | OrderKind::PostOnly { .. } => {
                fees.maker()
            }
            _ => fees.taker(),
        };
        let (asset, needed) = match (terms.side, terms.kind.price()) {
            (Side::Buy, None) => {
                let (quantity, notional) = self.reach(terms);
                self.need_for(terms.side, notional, quantity, terms.carry, rate)
            }
            (side, price) => self.need(side, price.unwrap_or(0), terms.open, terms.carry, rate),
        };
        ledger.check(terms.account, asset, needed, terms.reserved) // 1.8
    }

    /// Whether an order would trade on arrival.
    #[inline]
    fn crosses(&self, terms: &Terms) -> bool {
        let best = self.book.best(opposite(terms.side));
        best.is_some_and(|(best, _)| reaches(terms.side, terms.kind.price(), best))
    }

    /// Returns the quantity of an order that the book would fill on arrival, and its notional.
    fn reach(&self, terms: &Terms) -> (i64, i128) {
        let side = opposite(terms.side);
        let own = terms.account != AccountId::OUTSIDE && terms.self_trade != SelfTrade::Allow;
        let (mut left, mut notional) = (terms.open, 0);
        let mut fill = |left: &mut i64, price: i64, quantity: i64| {
            let quantity = quantity.min(*left);
            *left -= quantity;
            notional += i128::from(price) * i128::from(quantity);
        };
        'levels: for slot in self.book.ladder(side).slots() {
            let level = self.book.level(slot);
            if left == 0 || !reaches(terms.side, terms.kind.price(), level.price) {
                break;
            }
            if !own {
                fill(&mut left, level.price, level.quantity);
                continue;
            }
            for order in self.book.queue(slot).map(|slot| self.book.order(slot)) {
                if order.account != terms.account {
                    fill(&mut left, level.price, order.remaining);
                } else if terms.self_trade != SelfTrade::ExpireMaker {
                    break 'levels;
                }
            }
        }
        (terms.open - left, notional)
    }
}
