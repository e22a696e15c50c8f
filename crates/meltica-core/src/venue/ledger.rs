//! Balances of accounts: double-entry bookkeeping in integers.
//!
//! Every movement is a transfer between two accounts, so the balances of an asset add up to zero at any time.
//! [`AccountId::OUTSIDE`] is the source of deposits and the account of background orders; its balance is the negative
//! sum of all others. One ledger serves all engines of a venue, so an account trades all instruments with one balance.
//!
//! Invariants:
//! - The balances of a funded account are never negative, and `reserved <= total`.
//! - Sums cannot overflow: a total never exceeds the sum of all movements, which is counted and bounded.

use super::Reject;

/// An account of the [`Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(u32);

impl AccountId {
    /// The rest of the world: any number of background traders without funds checks.
    pub const OUTSIDE: Self = Self(0);
    /// Receives fees. Does not trade.
    pub const FEES: Self = Self(1);

    #[cfg(test)]
    pub(super) const fn for_test(number: u32) -> Self {
        Self(number)
    }
}

/// An asset of the [`Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetId(u32);

/// An account's balance of an asset, in its smallest units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// Total.
    pub total: i128,
    /// Amount reserved by open orders.
    pub reserved: i128,
}

impl Balance {
    /// Returns the amount available for new orders.
    #[inline]
    pub const fn available(self) -> i128 {
        self.total - self.reserved
    }
}

#[derive(Debug, Clone)]
struct Asset {
    scale: u8,
    /// Sum of all amounts ever transferred.
    moved: i128,
}

/// Accounts and their balances.
#[derive(Debug, Clone)]
pub struct Ledger {
    assets: Vec<Asset>,
    /// By account: whether its orders need funds.
    funded: Vec<bool>,
    /// By account, then asset.
    balances: Vec<Balance>,
}

impl Ledger {
    /// Maximum amount of one transfer.
    pub const MAX_AMOUNT: i128 = 100_000_000_000_000_000_000_000_000_000;

    /// Returns a ledger of assets, numbered in order; `scales` are their numbers of digits after the point.
    pub fn new(scales: &[u8]) -> Self {
        let assets = scales.iter().map(|&scale| Asset { scale, moved: 0 }).collect();
        let mut ledger = Self { assets, funded: Vec::new(), balances: Vec::new() };
        for special in [AccountId::OUTSIDE, AccountId::FEES] {
            let opened = ledger.open(false);
            debug_assert_eq!(opened, special);
        }
        ledger
    }

    /// Returns the assets in their order.
    pub fn assets(&self) -> impl ExactSizeIterator<Item = AssetId> {
        (0..self.assets.len() as u32).map(AssetId)
    }

    #[cfg(test)]
    pub(super) fn accounts(&self) -> impl Iterator<Item = AccountId> {
        (0..self.funded.len() as u32).map(AccountId)
    }

    /// Returns an asset's number of digits after the point.
    pub fn scale(&self, asset: AssetId) -> u8 {
        self.assets[asset.0 as usize].scale
    }

    /// Opens an account. Orders of a `funded` account need and reserve funds; other accounts may owe without limit.
    pub fn open(&mut self, funded: bool) -> AccountId {
        self.funded.push(funded);
        self.balances.resize(self.funded.len() * self.assets.len(), Balance::default());
        AccountId(self.funded.len() as u32 - 1)
    }

    /// Returns an account's balance of an asset.
    #[inline]
    pub fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        self.balances[self.index(account, asset)]
    }

    /// Transfers `amount`. [`AccountId::OUTSIDE`] is the source of deposits and the target of withdrawals.
    ///
    /// # Errors
    /// [`Reject::UnknownAccount`]; [`Reject::InsufficientFunds`] where a funded account has less available;
    /// [`Reject::Overflow`] for a negative amount or more than the ledger can count. Nothing changed in these cases.
    pub fn transfer(
        &mut self,
        from: AccountId,
        to: AccountId,
        asset: AssetId,
        amount: i128,
    ) -> Result<(), Reject> {
        if !self.has_account(from) || !self.has_account(to) {
            return Err(Reject::UnknownAccount);
        }
        if amount < 0 || !self.has_room(asset, amount) {
            return Err(Reject::Overflow);
        }
        self.check(from, asset, amount, 0)?;
        self.pay(from, to, asset, amount);
        Ok(())
    }

    /// Whether the account exists.
    #[inline]
    pub(super) fn has_account(&self, account: AccountId) -> bool {
        (account.0 as usize) < self.funded.len()
    }

    /// Whether orders of the account need funds.
    #[inline]
    pub(super) fn is_funded(&self, account: AccountId) -> bool {
        self.funded[account.0 as usize]
    }

    /// Whether a trade of `amount` and its two fees fit the counters.
    #[inline]
    pub(super) fn has_room(&self, asset: AssetId, amount: i128) -> bool {
        amount <= Self::MAX_AMOUNT && self.assets[asset.0 as usize].moved <= i128::MAX - 3 * amount
    }

    /// Refuses an amount that the account cannot pay after releasing `freed` of its reservation.
    #[inline]
    pub(super) fn check(
        &self,
        account: AccountId,
        asset: AssetId,
        needed: i128,
        freed: i128,
    ) -> Result<(), Reject> {
        let available = self.balance(account, asset).available() + freed;
        if self.is_funded(account) && needed > available {
            return Err(Reject::InsufficientFunds { asset, needed, available });
        }
        Ok(())
    }

    /// Reserves funds of a funded account; a negative amount releases them.
    #[inline]
    pub(super) fn reserve(&mut self, account: AccountId, asset: AssetId, amount: i128) {
        if self.is_funded(account) {
            let at = self.index(account, asset);
            self.balances[at].reserved += amount;
        }
    }

    /// Transfers an amount that was checked before.
    #[inline]
    pub(super) fn pay(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: i128) {
        let (from, to) = (self.index(from, asset), self.index(to, asset));
        self.balances[from].total -= amount;
        self.balances[to].total += amount;
        self.assets[asset.0 as usize].moved += amount;
    }

    /// Transfers a fee that was checked before; the account receives a negative one.
    #[inline]
    pub(super) fn pay_fee(&mut self, account: AccountId, asset: AssetId, fee: i128) {
        if fee > 0 {
            self.pay(account, AccountId::FEES, asset, fee);
        } else if fee < 0 {
            self.pay(AccountId::FEES, account, asset, -fee);
        }
    }

    #[cfg(test)]
    pub(super) fn set_moved(&mut self, asset: AssetId, moved: i128) {
        self.assets[asset.0 as usize].moved = moved;
    }

    #[inline]
    fn index(&self, account: AccountId, asset: AssetId) -> usize {
        account.0 as usize * self.assets.len() + asset.0 as usize
    }
}
