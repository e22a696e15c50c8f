//! Reports of account orders and balances on their way to the sink, with simulated faults.

use super::orders::{UserFill, UserOrder};
use super::pair::Pair;
use super::sink::{BalanceChange, Event, Report, Sink};
use crate::event::Nanos;
use crate::venue::{AccountId, AssetId, Balance};
use std::collections::BTreeMap;

/// Simulated faults of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportFaults {
    /// Whether new fills appear neither in a report nor in the list of fills. Orders and balances include them.
    pub withhold_fills: bool,
    /// Whether a fill that leaves its order open is reported after the end of the order.
    pub fills_after_end: bool,
}

/// A balance and the time of its report.
type Reported = (Balance, Nanos);

/// What was reported, and what is held back.
#[derive(Debug, Clone, Default)]
pub(super) struct Reporter {
    pub faults: ReportFaults,
    /// Fills that wait for the end of their order, each with its order after it.
    held: Vec<(UserOrder, UserFill)>,
    /// The last reported balances, and the ones before.
    balances: BTreeMap<(AccountId, AssetId), (Reported, Option<Reported>)>,
}

impl Reporter {
    /// Reports an order and, if given, its fill.
    pub fn order(
        &mut self,
        sink: &mut (impl Sink + ?Sized),
        pair: &Pair,
        now: Nanos,
        order: &UserOrder,
        fill: Option<&UserFill>,
    ) {
        let ended = order.state.is_final();
        match fill {
            Some(fill) if fill.withheld => return,
            Some(fill) if self.faults.fills_after_end && !ended => {
                self.held.push((order.clone(), fill.clone()));
                return;
            }
            _ => sink.on(pair, now, Event::Report(Report { order, fill, time: now })),
        }
        if ended && !self.held.is_empty() {
            self.release(sink, pair, now, |held| held.pair == order.pair && held.order == order.order);
        }
    }

    /// Reports the held fills of an instrument whose orders `are` those.
    pub fn release(
        &mut self,
        sink: &mut (impl Sink + ?Sized),
        pair: &Pair,
        now: Nanos,
        are: impl Fn(&UserOrder) -> bool,
    ) {
        let (due, held) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|(order, _)| order.pair == pair.index() && are(order));
        self.held = held;
        let due: Vec<_> = due;
        for (order, fill) in &due {
            sink.on(pair, now, Event::Report(Report { order, fill: Some(fill), time: order.time }));
        }
    }

    /// Records a balance; returns whether it differs from the last one.
    pub fn balance(&mut self, account: AccountId, asset: AssetId, balance: Balance, now: Nanos) -> bool {
        let before = self.balances.get(&(account, asset)).map(|(last, _)| *last);
        if before.map_or(Balance::default(), |(last, _)| last) == balance {
            return false;
        }
        self.balances.insert((account, asset), ((balance, now), before));
        true
    }

    /// Returns the balance before the last reported one.
    pub fn older_balance(&self, account: AccountId, asset: AssetId) -> Option<BalanceChange> {
        let (balance, time) = self.balances.get(&(account, asset))?.1?;
        Some(BalanceChange { account, asset, balance, time, transfer: None })
    }
}
