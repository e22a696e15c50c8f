//! Publications of everything, which are divided so that each part takes little time.

use super::machine::Market;
use crate::event::Nanos;
use crate::venue::{AccountId, AssetId};
use std::collections::VecDeque;

/// What is to be published, in its state at that time.
#[derive(Debug, Clone)]
pub(super) enum Item {
    /// The ticker and the book of a pair.
    Quote(usize),
    /// A pair's instrument.
    Instrument(usize),
    /// An order of an account, by its client order id.
    Order(AccountId, String),
    /// A balance of an account.
    Balance(AccountId, AssetId),
}

/// The items that are not published yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Refresh {
    time: Nanos,
    items: VecDeque<Item>,
}

impl Refresh {
    /// Adds items, which are due at once.
    pub fn add(&mut self, now: Nanos, items: impl IntoIterator<Item = Item>) {
        if self.items.is_empty() {
            self.time = now;
        }
        self.items.extend(items);
    }

    /// Adds the balances of an account.
    pub fn add_balances(&mut self, market: &Market, account: AccountId) {
        let balances = market.assets().iter().map(|(_, asset)| Item::Balance(account, *asset));
        self.add(market.now(), balances);
    }

    /// Adds the instruments.
    pub fn add_instruments(&mut self, market: &Market) {
        self.add(market.now(), (0..market.pairs().len()).map(Item::Instrument));
    }

    /// Returns when the next item is due.
    pub fn next_due(&self) -> Nanos {
        if self.items.is_empty() { Nanos::MAX } else { self.time }
    }

    /// Takes the next item.
    pub fn take(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// Discards all items.
    pub fn clear(&mut self) {
        self.items.clear();
    }
}
