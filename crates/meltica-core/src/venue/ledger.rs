//! Who owns what: double entry, in integers.
//!
//! All that moves is a transfer from one account to another, so the balances of an asset add up to zero at every
//! instant: [`AccountId::OUTSIDE`], where deposits come from and background flow trades, owes what the others own.
//! One ledger serves all engines of a venue, so that an account trades on many instruments with one balance.
//!
//! Invariants: a funded account's balances are never negative, `reserved <= total`, and no sum can overflow, since no
//! total is farther from zero than what ever moved, which is counted and bounded.

use super::Reject;

/// An account of the [`Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(u32);

impl AccountId {
    /// The rest of the world: any number of strangers whose funds are not looked at.
    pub const OUTSIDE: Self = Self(0);
    /// Where fees go. It does not trade.
    pub const FEES: Self = Self(1);

    #[cfg(test)]
    pub(super) const fn for_test(number: u32) -> Self {
        Self(number)
    }
}

/// An asset of the [`Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AssetId(u32);

/// What an account owns of an asset, in its smallest units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Balance {
    /// All of it.
    pub total: i128,
    /// What open orders hold of it.
    pub reserved: i128,
}

impl Balance {
    /// Returns what is free for new orders.
    #[inline]
    pub const fn available(self) -> i128 {
        self.total - self.reserved
    }
}

#[derive(Debug, Clone)]
struct Asset {
    scale: u8,
    /// The sum of all that ever moved.
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
    /// Most that moves at once.
    pub const MAX_AMOUNT: i128 = 100_000_000_000_000_000_000_000_000_000;

    /// Returns a ledger of assets with so many digits after the point each, numbered in that order.
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

    /// Returns how many digits after the point an asset has.
    pub fn scale(&self, asset: AssetId) -> u8 {
        self.assets[asset.0 as usize].scale
    }

    /// Opens an account. The orders of a `funded` one need funds and reserve them; others may owe without limit.
    pub fn open(&mut self, funded: bool) -> AccountId {
        self.funded.push(funded);
        self.balances.resize(self.funded.len() * self.assets.len(), Balance::default());
        AccountId(self.funded.len() as u32 - 1)
    }

    /// Returns what an account owns.
    #[inline]
    pub fn balance(&self, account: AccountId, asset: AssetId) -> Balance {
        self.balances[self.index(account, asset)]
    }

    /// Moves `amount`; a deposit comes from [`AccountId::OUTSIDE`], a withdrawal goes there.
    ///
    /// # Errors
    /// [`Reject::UnknownAccount`], [`Reject::InsufficientFunds`] where a funded account has less available, and
    /// [`Reject::Overflow`] for a negative amount or more than the ledger can count. Then nothing moves.
    pub fn transfer(
        &mut self,
        from: AccountId,
        to: AccountId,
        asset: AssetId,
        amount: i128,
    ) -> Result<(), Reject> {
        if !self.knows(from) || !self.knows(to) {
            return Err(Reject::UnknownAccount);
        }
        if amount < 0 || !self.has_room(asset, amount) {
            return Err(Reject::Overflow);
        }
        self.check(from, asset, amount, 0)?;
        self.pay(from, to, asset, amount);
        Ok(())
    }

    /// Whether there is such an account.
    #[inline]
    pub(super) fn knows(&self, account: AccountId) -> bool {
        (account.0 as usize) < self.funded.len()
    }

    /// Whether the account's orders need funds.
    #[inline]
    pub(super) fn is_funded(&self, account: AccountId) -> bool {
        self.funded[account.0 as usize]
    }

    /// Whether a trade of `amount` and its two fees can be counted.
    #[inline]
    pub(super) fn has_room(&self, asset: AssetId, amount: i128) -> bool {
        amount <= Self::MAX_AMOUNT && self.assets[asset.0 as usize].moved <= i128::MAX - 3 * amount
    }

    /// Refuses what the account cannot pay, when `freed` of its reservation is let go first.
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

    /// Sets funds of a funded account aside; a negative amount lets them go.
    #[inline]
    pub(super) fn reserve(&mut self, account: AccountId, asset: AssetId, amount: i128) {
        if self.is_funded(account) {
            let at = self.index(account, asset);
            self.balances[at].reserved += amount;
        }
    }

    /// Moves what was checked before.
    #[inline]
    pub(super) fn pay(&mut self, from: AccountId, to: AccountId, asset: AssetId, amount: i128) {
        let (from, to) = (self.index(from, asset), self.index(to, asset));
        self.balances[from].total -= amount;
        self.balances[to].total += amount;
        self.assets[asset.0 as usize].moved += amount;
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
