//! What goes into the engine and what comes out. Prices and quantities are integers on the engine's scales
//! ([`super::Rules`]), money is in the smallest units of its asset ([`super::Ledger`]).

use super::Reject;
use super::ledger::AccountId;
use crate::event::{Side, TimeInForce};

/// The engine's id of an order: ascending in time, never used twice, never 0.
///
/// The low 24 bits say where the order lies and the others count orders, so finding an order takes no search.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderId(pub u64);

impl OrderId {
    const PLACE_BITS: u32 = 24;
    /// Most orders that rest at a time.
    pub(super) const MAX_PLACES: usize = 1 << Self::PLACE_BITS;
    /// Most orders that an engine ever accepts.
    pub(super) const MAX_COUNT: u64 = (1 << (u64::BITS - Self::PLACE_BITS)) - 1;

    pub(super) const fn new(count: u64, place: u32) -> Self {
        Self(count << Self::PLACE_BITS | place as u64)
    }

    pub(super) const fn place(self) -> usize {
        self.0 as usize & (Self::MAX_PLACES - 1)
    }
}

/// How an order trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderKind {
    /// Takes whatever the book offers, at any price; what is left expires.
    Market {
        /// Whether it is refused unless the book fills it whole.
        fok: bool,
    },
    /// Trades at `price` or better.
    Limit {
        /// The worst price.
        price: i64,
        /// What becomes of the rest.
        time_in_force: TimeInForce,
    },
    /// Rests at `price`; refused when it would take.
    PostOnly {
        /// Its price.
        price: i64,
    },
}

impl OrderKind {
    /// Returns the limit, or `None` of a market order.
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

/// What happens when an order meets one of the same account. Orders of [`AccountId::OUTSIDE`] are strangers to each
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SelfTrade {
    /// They trade.
    #[default]
    Allow,
    /// What is left of the arriving order expires.
    ExpireTaker,
    /// The resting order expires and the arriving one goes on.
    ExpireMaker,
    /// Both.
    ExpireBoth,
}

/// A new order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewOrder {
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub quantity: i64,
    /// How it trades.
    pub kind: OrderKind,
    /// Whose it is.
    pub account: AccountId,
    /// What happens when it meets an order of the same account; `None` is the engine's default.
    pub self_trade: Option<SelfTrade>,
    /// The caller's own reference, given back with all that happens to the order.
    pub tag: u64,
}

/// What the engine is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Take a new order.
    New(NewOrder),
    /// Cancel an order.
    Cancel(OrderId),
    /// Change an order.
    Amend {
        /// Which.
        order: OrderId,
        /// The new price; `None` keeps it.
        price: Option<i64>,
        /// The new quantity, what is already filled included; `None` keeps it.
        quantity: Option<i64>,
    },
}

/// What happened, in its order. A refused command yields [`Outcome::Rejected`] alone and changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The new order is taken; its fills follow. It rests unless they fill it or it is closed in this step.
    Accepted {
        /// The engine's id of it.
        order: OrderId,
        /// The caller's reference.
        tag: u64,
        /// Whose it is.
        account: AccountId,
    },
    /// The command is refused.
    Rejected(Reject),
    /// Two orders traded. One whose `remaining` is 0 is done; no [`Outcome::Closed`] follows.
    Filled(Fill),
    /// The order was changed; fills may follow where its price moved.
    Amended {
        /// Which.
        order: OrderId,
        /// The caller's reference.
        tag: u64,
        /// Whose it is.
        account: AccountId,
        /// Its price now.
        price: i64,
        /// Its quantity now, what is filled included.
        quantity: i64,
        /// Whether it kept its place in the queue.
        kept_priority: bool,
    },
    /// The order is done before it was filled whole.
    Closed {
        /// Which.
        order: OrderId,
        /// The caller's reference.
        tag: u64,
        /// Whose it is.
        account: AccountId,
        /// What was not filled.
        unfilled: i64,
        /// Why.
        reason: CloseReason,
    },
    /// A price level of the book changed.
    Level(LevelChange),
}

/// Why an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// It was cancelled on request.
    Cancelled,
    /// It was amended to no more than is filled.
    Amended,
    /// The book offers no more within its limit, and it may not rest.
    Remainder,
    /// It met an order of the same account.
    SelfTrade,
}

/// One trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// Counts trades from 1.
    pub trade_id: u64,
    /// The maker's price.
    pub price: i64,
    /// How much.
    pub quantity: i64,
    /// The taker's side.
    pub taker_side: Side,
    /// The order that rested.
    pub maker: Party,
    /// The order that arrived.
    pub taker: Party,
}

/// One side of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party {
    /// The order.
    pub order: OrderId,
    /// The caller's reference.
    pub tag: u64,
    /// Whose it is.
    pub account: AccountId,
    /// What is left to fill after the trade.
    pub remaining: i64,
    /// The fee, in the asset that [`super::Engine::fee_asset`] tells for the side.
    pub fee: i128,
}

/// A level's new state. Whoever applies each change in turn holds the engine's book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelChange {
    /// One more than that of the change before.
    pub update_id: u64,
    /// The level.
    pub level: BookLevel,
}

/// A price level. Gone when there are no orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookLevel {
    /// Bids buy, asks sell.
    pub side: Side,
    /// Its price.
    pub price: i64,
    /// The sum of what its orders still want.
    pub quantity: i64,
    /// How many orders.
    pub orders: u32,
}

/// An order that rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOrder {
    /// The engine's id of it.
    pub order: OrderId,
    /// The caller's reference.
    pub tag: u64,
    /// Whose it is.
    pub account: AccountId,
    /// Buy or sell.
    pub side: Side,
    /// Its price.
    pub price: i64,
    /// How much it asked for.
    pub quantity: i64,
    /// How much of that is left.
    pub remaining: i64,
    /// Whether it may never take.
    pub post_only: bool,
    /// When it took its place in the queue.
    pub since: crate::event::Nanos,
}
