//! The orders of accounts, and what became of them.

use crate::event::{Nanos, Side};
use crate::venue::{AccountId, OrderId, OrderKind, Reject};
use std::collections::{BTreeMap, VecDeque};

/// An order as an account sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The account's own id of it, one of which may be open at a time.
    pub client_id: String,
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub quantity: i64,
    /// How it trades.
    pub kind: OrderKind,
}

/// An order of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserOrder {
    /// The account's own id of it.
    pub client_id: String,
    /// The venue's; `None` when it was refused.
    pub order: Option<OrderId>,
    /// Whose it is.
    pub account: AccountId,
    /// The instrument's number.
    pub pair: usize,
    /// Buy or sell.
    pub side: Side,
    /// How it trades.
    pub kind: OrderKind,
    /// Its limit now.
    pub price: Option<i64>,
    /// Its quantity now.
    pub quantity: i64,
    /// What of it is filled.
    pub filled: i64,
    /// Sum of price times quantity of its fills.
    pub notional: i128,
    /// Sum of its fees.
    pub fee: i128,
}

impl UserOrder {
    pub(super) fn new(account: AccountId, pair: usize, request: &Request) -> Self {
        let Request { client_id, side, quantity, kind } = request;
        Self {
            client_id: client_id.clone(),
            order: None,
            account,
            pair,
            side: *side,
            kind: *kind,
            price: kind.price(),
            quantity: *quantity,
            filled: 0,
            notional: 0,
            fee: 0,
        }
    }
}

/// A fill of an account's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFill {
    /// Counts the venue's fills from 1, both sides of a trade apart.
    pub number: u64,
    /// When.
    pub time: Nanos,
    /// Whose.
    pub account: AccountId,
    /// The instrument's number.
    pub pair: usize,
    /// The venue's id of the order.
    pub order: OrderId,
    /// The account's.
    pub client_id: String,
    /// The instrument's trade.
    pub trade_id: u64,
    /// The order's side.
    pub side: Side,
    /// Price.
    pub price: i64,
    /// Quantity.
    pub quantity: i64,
    /// The fee.
    pub fee: i128,
    /// Whether the order rested.
    pub maker: bool,
}

/// Why a request of an account is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// By the engine: why, and one line for people.
    #[error("{1}")]
    Engine(Reject, String),
    /// An open order of the account has the same id.
    #[error("expected a client id that no open order has, seen {0}")]
    DuplicateId(String),
    /// No open order of the account has the id.
    #[error("expected the client id of an open order, seen {0}")]
    UnknownOrder(String),
}

impl Refusal {
    /// Returns the machine-readable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Engine(reject, _) => reject.code(),
            Self::DuplicateId(_) => "duplicate_client_id",
            Self::UnknownOrder(_) => "unknown_order",
        }
    }
}

/// The open orders and last fills of all accounts.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    open: BTreeMap<u64, UserOrder>,
    ids: BTreeMap<(AccountId, String), u64>,
    last: u64,
    fills: VecDeque<UserFill>,
    filled: u64,
}

impl Orders {
    /// Fills that are kept: about 150 MB.
    const MAX_FILLS: usize = 1 << 20;

    /// Takes an order in and returns its tag. No open order may have its id.
    pub fn insert(&mut self, order: UserOrder) -> u64 {
        self.last += 1;
        self.ids.insert((order.account, order.client_id.clone()), self.last);
        self.open.insert(self.last, order);
        self.last
    }

    /// Takes an order that is done out.
    pub fn remove(&mut self, tag: u64) -> Option<UserOrder> {
        let order = self.open.remove(&tag)?;
        self.ids.remove(&(order.account, order.client_id.clone()));
        Some(order)
    }

    pub fn get_mut(&mut self, tag: u64) -> Option<&mut UserOrder> {
        self.open.get_mut(&tag)
    }

    pub fn find(&self, account: AccountId, client_id: &str) -> Option<&UserOrder> {
        self.open.get(self.ids.get(&(account, client_id.to_owned()))?)
    }

    pub fn of(&self, account: AccountId) -> impl Iterator<Item = &UserOrder> {
        self.open.values().filter(move |order| order.account == account)
    }

    /// Counts a fill in; returns it numbered.
    pub fn fill(&mut self, mut fill: UserFill) -> &UserFill {
        self.filled += 1;
        fill.number = self.filled;
        if self.fills.len() == Self::MAX_FILLS {
            self.fills.pop_front();
        }
        self.fills.push_back(fill);
        &self.fills[self.fills.len() - 1]
    }

    pub fn fills_since(&self, account: AccountId, number: u64) -> impl Iterator<Item = &UserFill> {
        let from = self.fills.partition_point(|fill| fill.number <= number);
        self.fills.range(from..).filter(move |fill| fill.account == account)
    }
}
