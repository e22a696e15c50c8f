//! Rule 8: amendments.

use super::Reject;
use super::checks::Terms;
use super::engine::Engine;
use super::ledger::Ledger;
use super::order::{CloseReason, OrderId, OrderKind, Outcome};
use crate::event::{Nanos, TimeInForce};

impl Engine {
    pub(super) fn amend(
        &mut self,
        ledger: &mut Ledger,
        id: OrderId,
        price: Option<i64>,
        quantity: Option<i64>,
        now: Nanos,
        out: &mut Vec<Outcome>,
    ) -> Result<(), Reject> {
        let slot = self.book.find(id).ok_or(Reject::UnknownOrder)?;
        let mut order = self.book.order(slot).order();
        let old_price = self.book.price_of(slot);
        let (price, quantity) = (price.unwrap_or(old_price), quantity.unwrap_or(order.quantity));
        if quantity <= 0 {
            return Err(Reject::InvalidQuantity); // 1.2
        }
        let (filled, resting) = (order.quantity - order.remaining, order.remaining);
        if quantity <= filled {
            let level = self.end(ledger, slot, CloseReason::Amended, out); // 8.4
            out.push(Outcome::Level(self.book.changed(level)));
            return Ok(());
        }
        let open = quantity - filled;
        let (asset, reserved) = self.reservation(slot);
        let kind = if order.post_only {
            OrderKind::PostOnly { price }
        } else {
            OrderKind::Limit { price, time_in_force: TimeInForce::Gtc }
        };
        self.admit(
            ledger,
            &Terms {
                side: order.side,
                account: order.account,
                kind,
                self_trade: order.self_trade,
                quantity,
                open,
                carry: order.carry,
                resting,
                reserved,
            },
        )?; // 8.5
        let kept_priority = price == old_price && open <= resting; // 8.1, 8.2
        let tag = order.tag;
        out.push(Outcome::Amended { order: id, tag, account: order.account, price, quantity, kept_priority });
        if price != old_price {
            ledger.reserve(order.account, asset, -reserved);
            let level = self.book.unlink(slot);
            out.push(Outcome::Level(self.book.changed(level)));
            (order.remaining, order.quantity, order.since) = (open, quantity, now);
            let stopped = self.take(ledger, &mut order, Some(price), out); // 8.3
            self.settle_in(ledger, slot, &order, price, stopped, out);
            return Ok(());
        }
        // At the same price the order cannot cross.
        self.book.order_mut(slot).quantity = quantity;
        if !kept_priority {
            self.book.order_mut(slot).since = now;
            self.book.requeue(slot);
        }
        if open != resting {
            let level = self.book.add_remaining(slot, open - resting);
            let (asset, needed) = self.reservation(slot);
            ledger.reserve(order.account, asset, needed - reserved); // 10
            out.push(Outcome::Level(self.book.changed(level)));
        }
        Ok(())
    }
}
