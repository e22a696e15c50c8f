//! Rule 9: what a trade costs each side, and changes of the fees while orders are open.

use super::book::Order;
use super::engine::Engine;
use super::fees::{Fees, OtherAsset};
use super::ledger::{AccountId, AssetId, Ledger};
use crate::event::Side;

impl Engine {
    /// Charges the fee of one side of a trade; returns it with its asset.
    #[inline]
    pub(super) fn charge(
        &self,
        ledger: &mut Ledger,
        order: &mut Order,
        rate: i32,
        [base, quote]: [i128; 2],
    ) -> (AssetId, i128) {
        if let Some(other) = self.fees().other()
            && let Some(fee) = self.charge_other(ledger, order.account, other, rate, quote)
        {
            return (other.asset, fee);
        }
        let amount = if self.fees().in_quote(order.side) { quote } else { base };
        let fee = self.fees().charge(amount, rate, &mut order.carry);
        let asset = self.fee_asset(order.side);
        ledger.pay_fee(order.account, asset, fee);
        (asset, fee)
    }

    /// Charges a fee in an asset that the instrument does not trade; `None` where the account has too little of it.
    fn charge_other(
        &self,
        ledger: &mut Ledger,
        account: AccountId,
        other: OtherAsset,
        rate: i32,
        quote: i128,
    ) -> Option<i128> {
        // An arriving order reserves nothing: a fee must not spend what its next trade has to pay.
        if other.asset == self.base() || other.asset == self.quote() {
            return None;
        }
        let fee = self.fees().charge(other.value(quote)?, rate, &mut 0);
        if !ledger.has_room(other.asset, fee.abs()) {
            return None;
        }
        ledger.check(account, other.asset, fee, 0).ok()?;
        ledger.pay_fee(account, other.asset, fee);
        Some(fee)
    }

    /// Returns by how much [`Self::change_fees`] would change the reservation of each open order.
    pub(super) fn fee_changes(&self, fees: Fees) -> impl Iterator<Item = (AccountId, AssetId, i128)> {
        self.open_slots().map(move |slot| {
            let order = self.book.order(slot);
            let (asset, reserved) = self.reservation(slot);
            let notional = i128::from(self.book.price_of(slot)) * i128::from(order.remaining);
            let needed = self.need_under(&fees, order.side, notional, order.remaining, 0, fees.maker());
            (order.account, asset, needed - reserved)
        })
    }

    /// Changes the fees of later trades. The caller has checked that the accounts have the funds for
    /// [`Self::fee_changes`].
    pub(super) fn change_fees(&mut self, ledger: &mut Ledger, fees: Fees) {
        let changes: Vec<_> = self.fee_changes(fees).collect();
        for (account, asset, change) in changes {
            ledger.reserve(account, asset, change);
        }
        let slots: Vec<_> = self.open_slots().collect();
        for slot in slots {
            self.book.order_mut(slot).carry = 0;
        }
        self.set_fees(fees);
    }

    fn open_slots(&self) -> impl Iterator<Item = u32> {
        let levels = [Side::Buy, Side::Sell].into_iter().flat_map(|side| self.book.ladder(side).slots());
        levels.flat_map(|level| self.book.queue(level))
    }
}
