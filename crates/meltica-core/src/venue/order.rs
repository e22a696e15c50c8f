//! The engine's commands and outcomes. Prices and quantities are integers on the engine's scales
//! ([`super::InstrumentRules`]), money is in the smallest units of its asset ([`super::Ledger`]).

use super::Reject;
use super::ledger::{AccountId, AssetId};
use crate::event::{Side, TimeInForce};

/// The engine's id of an order: ascending in time, never reused, never 0.
///
/// The low 24 bits are the index of the order's slot and the other bits count orders, so a lookup needs no search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub u64);

impl OrderId {
    const SLOT_BITS: u32 = 24;
    /// Maximum number of resting orders.
    pub(super) const MAX_SLOTS: usize = 1 << Self::SLOT_BITS;
    /// Maximum number of orders that an engine accepts in its lifetime.
    pub(super) const MAX_COUNT: u64 = (1 << (u64::BITS - Self::SLOT_BITS)) - 1;

    pub(super) const fn new(count: u64, slot: u32) -> Self {
        Self(count << Self::SLOT_BITS | slot as u64)
    }

    pub(super) const fn slot(self) -> usize {
        self.0 as usize & (Self::MAX_SLOTS - 1)
    }
}

/// How an order trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// Takes any price; the remainder expires.
    Market {
        /// Whether the order is refused unless the book fills it completely.
        fok: bool,
    },
    /// Trades at `price` or better.
    Limit {
        /// The limit.
        price: i64,
        /// What happens to the remainder.
        time_in_force: TimeInForce,
    },
    /// Rests at `price`; refused where it would take.
    PostOnly {
        /// The limit.
        price: i64,
    },
}

impl OrderKind {
    /// Returns the limit, or `None` for a market order.
    pub const fn price(self) -> Option<i64> {
        match self {
            Self::Market { .. } => None,
            Self::Limit { price, .. } | Self::PostOnly { price } => Some(price),
        }
    }

    /// Returns the time in force. A market order never rests, so it is immediate or cancel, or fill or kill.
    pub const fn time_in_force(self) -> TimeInForce {
        match self {
            Self::Market { fok: true } => TimeInForce::Fok,
            Self::Market { fok: false } => TimeInForce::Ioc,
            Self::Limit { time_in_force, .. } => time_in_force,
            Self::PostOnly { .. } => TimeInForce::Gtc,
        }
    }
}

/// What happens when an order meets an order of the same account. Orders of [`AccountId::OUTSIDE`] always trade with
/// each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelfTrade {
    /// They trade.
    #[default]
    Allow,
    /// The remainder of the arriving order expires.
    ExpireTaker,
    /// The resting order expires and the arriving order continues.
    ExpireMaker,
    /// Both orders expire.
    ExpireBoth,
}

/// A new order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewOrder {
    /// Buy or sell.
    pub side: Side,
    /// Quantity.
    pub quantity: i64,
    /// How the order trades.
    pub kind: OrderKind,
    /// The account that owns the order.
    pub account: AccountId,
    /// What happens when the order meets an order of the same account; `None` is the engine's default.
    pub self_trade: Option<SelfTrade>,
    /// The caller's reference, included in every outcome of the order.
    pub tag: u64,
}

/// A request to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Submit a new order.
    New(NewOrder),
    /// Cancel an order.
    Cancel(OrderId),
    /// Amend an order.
    Amend {
        /// The order.
        order: OrderId,
        /// The new price; `None` keeps it.
        price: Option<i64>,
        /// The new total quantity, including the filled part; `None` keeps it.
        quantity: Option<i64>,
    },
}

/// One effect of a command, in order. A refused command has the single outcome [`Outcome::Rejected`] and changes
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The new order was accepted; its fills follow. It rests unless the fills complete it or this step closes it.
    Accepted {
        /// The engine's id of the order.
        order: OrderId,
        /// The caller's reference.
        tag: u64,
        /// The account that owns the order.
        account: AccountId,
    },
    /// The command was refused.
    Rejected(Reject),
    /// Two orders traded. An order whose `remaining` is 0 is complete; no [`Outcome::Closed`] follows.
    Filled(Fill),
    /// The order was amended; fills may follow a change of price.
    Amended {
        /// The order.
        order: OrderId,
        /// The caller's reference.
        tag: u64,
        /// The account that owns the order.
        account: AccountId,
        /// The new price.
        price: i64,
        /// The new total quantity, including the filled part.
        quantity: i64,
        /// Whether the order kept its queue position.
        kept_priority: bool,
    },
    /// The order ended before it was filled completely.
    Closed {
        /// The order.
        order: OrderId,
        /// The caller's reference.
        tag: u64,
        /// The account that owns the order.
        account: AccountId,
        /// Quantity that was not filled.
        unfilled: i64,
        /// Why the order ended.
        reason: CloseReason,
    },
    /// A price level of the book changed.
    Level(LevelChange),
}

/// Why an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// Cancelled on request.
    Cancelled,
    /// Amended to the filled quantity or less.
    Amended,
    /// The book has no further quantity within the limit, and the order may not rest.
    Remainder,
    /// Would trade with an order of the same account.
    SelfTrade,
}

/// One trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Counts trades from 1.
    pub trade_id: u64,
    /// The maker's price.
    pub price: i64,
    /// Quantity.
    pub quantity: i64,
    /// The taker's side.
    pub taker_side: Side,
    /// The resting order.
    pub maker: Party,
    /// The arriving order.
    pub taker: Party,
}

/// One side of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// The order.
    pub order: OrderId,
    /// The caller's reference.
    pub tag: u64,
    /// The account that owns the order.
    pub account: AccountId,
    /// The asset of the fee.
    pub fee_asset: AssetId,
    /// Quantity still open after the trade.
    pub remaining: i64,
    /// The fee; negative for a rebate.
    pub fee: i128,
}

/// The new state of a level. Applying all changes in order reproduces the engine's book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelChange {
    /// The previous change's id plus one.
    pub update_id: u64,
    /// The level.
    pub level: BookLevel,
}

/// A price level, removed once it has zero orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookLevel {
    /// Buy for bids, sell for asks.
    pub side: Side,
    /// Price.
    pub price: i64,
    /// Sum of the open quantities of its orders.
    pub quantity: i64,
    /// Number of orders.
    pub orders: u32,
}

/// A resting order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOrder {
    /// The engine's id of the order.
    pub order: OrderId,
    /// The caller's reference.
    pub tag: u64,
    /// The account that owns the order.
    pub account: AccountId,
    /// Buy or sell.
    pub side: Side,
    /// Price.
    pub price: i64,
    /// Total quantity.
    pub quantity: i64,
    /// Quantity still open.
    pub remaining: i64,
    /// Whether the order is post-only.
    pub post_only: bool,
    /// When the order got its queue position.
    pub since: crate::event::Nanos,
}
