//! What an operator of the venue does to accounts: deposits, other fees, and simulated faults.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use super::machine::Market;
use super::options::OptionErrors;
use super::orders::Refusal;
use super::reporter::ReportFaults;
use super::sink::{BalanceChange, Event, Sink, Transfer};
use crate::decimal::Decimal;
use crate::venue::{AccountId, AssetId, Command, FeeAsset, Fees, OrderId, OtherAsset, Reject};
use std::collections::BTreeMap;

/// The currency in which all instruments charge fees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeeCurrency {
    /// Base, quote, or what each side receives.
    Traded(FeeAsset),
    /// One asset, at a price in quote. See [`FeeAsset::Other`].
    Other(AssetId, Decimal),
}

impl Market {
    /// Deposits an amount into an account, or withdraws a negative one, and reports the balance with the transfer.
    /// Returns the transfer's id.
    ///
    /// # Errors
    /// Those of [`Self::deposit`], and [`Reject::InsufficientFunds`]. Nothing changed.
    pub fn transfer(
        &mut self,
        account: AccountId,
        asset: AssetId,
        amount: Decimal,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<u64, Reject> {
        let units = amount.normalize().rescale(self.ledger.scale(asset)).ok_or(Reject::Overflow)?;
        let amount = units.mantissa();
        let (from, to) = match amount {
            0.. => (AccountId::OUTSIDE, account),
            _ => (account, AccountId::OUTSIDE),
        };
        self.ledger.transfer(from, to, asset, amount.checked_abs().ok_or(Reject::Overflow)?)?;
        self.transfers += 1;
        let (time, balance) = (self.now, self.ledger.balance(account, asset));
        self.reporter.balance(account, asset, balance, time);
        let transfer = Some(Transfer { id: self.transfers, amount });
        let change = BalanceChange { account, asset, balance, time, transfer };
        sink.on(&self.pairs[0], time, Event::Balance(change));
        Ok(self.transfers)
    }

    /// Changes the fees of later trades, also of open orders, and reports the balances that this changes.
    ///
    /// # Errors
    /// All faults of the values; an account that cannot pay the new fees of its open orders. Nothing changed.
    pub fn set_fees(
        &mut self,
        maker: Decimal,
        taker: Decimal,
        currency: FeeCurrency,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(), OptionErrors> {
        let fault = |text: String| OptionErrors(vec![text]);
        let mut fees = Vec::new();
        for pair in &self.pairs {
            let asset = match currency {
                FeeCurrency::Traded(asset) => asset,
                FeeCurrency::Other(asset, price) => {
                    OtherAsset::new(&self.ledger, asset, pair.engine.quote(), price)
                        .map(FeeAsset::Other)
                        .ok_or_else(|| fault(format!("price: expected one above 0 that fits, saw {price}")))?
                }
            };
            fees.push(Fees::new(maker, taker, asset).map_err(|error| fault(error.to_string()))?);
        }
        let mut changes = BTreeMap::<(AccountId, AssetId), i128>::new();
        for (pair, fees) in self.pairs.iter().zip(&fees) {
            for (account, asset, change) in pair.engine.fee_changes(*fees) {
                *changes.entry((account, asset)).or_default() += change;
            }
        }
        for (&(account, asset), &change) in &changes {
            if self.ledger.check(account, asset, change, 0).is_err() {
                let text = "fees not changed: an account has too little for the fees of its open orders";
                return Err(fault(text.to_owned()));
            }
        }
        for (index, fees) in fees.into_iter().enumerate() {
            self.pairs[index].engine.change_fees(&mut self.ledger, fees);
        }
        for index in 0..self.pairs.len() {
            self.touched.extend(
                changes.keys().map(|(account, _)| *account).filter(|account| *account != AccountId::OUTSIDE),
            );
            self.report_balances(index, sink);
        }
        Ok(())
    }

    /// Cancels an open order of an account by the venue's id.
    ///
    /// # Errors
    /// [`Refusal::UnknownOrder`].
    pub fn cancel_venue_order(
        &mut self,
        account: AccountId,
        pair: usize,
        order: OrderId,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::UnknownOrder(order.0.to_string());
        self.pairs[pair].engine.order(order).filter(|open| open.account == account).ok_or_else(unknown)?;
        self.step(pair, Command::Cancel(order), sink).map(|_| ()).map_err(|_| unknown())
    }

    /// Cancels the open orders of an account, in one instrument or in all. Returns their client order ids, oldest first.
    pub fn cancel_all(
        &mut self,
        account: AccountId,
        pair: Option<usize>,
        sink: &mut (impl Sink + ?Sized),
    ) -> Vec<String> {
        let chosen = self.orders.of(account).filter(|order| pair.is_none_or(|pair| pair == order.pair));
        let chosen: Vec<_> = chosen
            .filter_map(|order| Some((order.pair, order.order?, order.client_order_id.clone())))
            .collect();
        let mut cancelled = Vec::new();
        for (pair, order, id) in chosen {
            if self.cancel_venue_order(account, pair, order, sink).is_ok() {
                cancelled.push(id);
            }
        }
        cancelled
    }

    /// Forgets an order of an account: it leaves the book without a report, and queries no longer find it.
    ///
    /// # Errors
    /// [`Refusal::UnknownOrder`].
    pub fn forget(
        &mut self,
        account: AccountId,
        client_order_id: &str,
        sink: &mut (impl Sink + ?Sized),
    ) -> Result<(), Refusal> {
        if self.orders.find(account, client_order_id).is_none() {
            return Err(Refusal::UnknownOrder(client_order_id.to_owned()));
        }
        if let Some(order) = self.orders.forget(account, client_order_id)
            && let Some(id) = order.order
        {
            let _cancelled = self.step(order.pair, Command::Cancel(id), sink);
        }
        Ok(())
    }

    /// Reports the balance before the last reported one again, with its time. Returns whether there is one.
    pub fn resend_older_balance(
        &mut self,
        account: AccountId,
        asset: AssetId,
        sink: &mut (impl Sink + ?Sized),
    ) -> bool {
        let older = self.reporter.older_balance(account, asset);
        if let Some(change) = older {
            sink.on(&self.pairs[0], self.now, Event::Balance(change));
        }
        older.is_some()
    }

    /// Returns the simulated faults of reports.
    pub fn report_faults(&self) -> ReportFaults {
        self.reporter.faults
    }

    /// Changes the simulated faults of reports. What one of them held back is reported, or listed, when it ends.
    pub fn set_report_faults(&mut self, faults: ReportFaults, sink: &mut (impl Sink + ?Sized)) {
        self.reporter.faults = faults;
        if !faults.withhold_fills {
            self.orders.list_withheld();
        }
        if !faults.fills_after_end {
            for pair in &self.pairs {
                self.reporter.release(sink, pair, self.now, |_| true);
            }
        }
    }
}
