//! The orders of accounts, and what became of them.

use crate::event::{Nanos, OrderState, Side};
use crate::venue::{AccountId, OrderId, OrderKind, Reject};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// An order as an account sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The account's own id of it, one of which may be open at a time.
    pub client_order_id: String,
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
    pub client_order_id: String,
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
    /// How far it has come.
    pub state: OrderState,
    /// When that was.
    pub time: Nanos,
    /// Why it was refused or ended.
    pub reason: Option<Cow<'static, str>>,
}

impl UserOrder {
    pub(super) fn new(account: AccountId, pair: usize, request: &Request, time: Nanos) -> Self {
        let Request { client_order_id, side, quantity, kind } = request;
        Self {
            client_order_id: client_order_id.clone(),
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
            state: OrderState::Ack,
            time,
            reason: None,
        }
    }

    /// Comes so far.
    pub(super) fn reach(&mut self, state: OrderState, time: Nanos) {
        (self.state, self.time) = (state, time);
    }

    /// Ends.
    pub(super) fn end(&mut self, state: OrderState, time: Nanos, reason: Option<Cow<'static, str>>) {
        self.reach(state, time);
        self.reason = reason;
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
    pub client_order_id: String,
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
    /// By nothing but the venue's mood.
    #[error("the venue rejects this order, as its behavior says")]
    Mood,
}

impl Refusal {
    /// Returns the machine-readable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Engine(reject, _) => reject.code(),
            Self::DuplicateId(_) => "duplicate_client_id",
            Self::UnknownOrder(_) => "unknown_order",
            Self::Mood => "venue_rejected",
        }
    }
}

/// Whose, and the account's own id.
type ClientKey = (AccountId, String);

/// The open orders, last ended orders and last fills of all accounts.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    open: BTreeMap<u64, UserOrder>,
    ids: BTreeMap<ClientKey, u64>,
    last: u64,
    /// The last that ended under each id, and by which tag.
    ended: BTreeMap<ClientKey, (u64, UserOrder)>,
    endings: VecDeque<(u64, ClientKey)>,
    fills: VecDeque<UserFill>,
    filled: u64,
}

impl Orders {
    /// Fills that are kept: about 150 MB.
    const MAX_FILLS: usize = 1 << 20;
    /// Orders that are kept after their end.
    const MAX_ENDED: usize = 100_000;

    /// Takes an order in and returns its tag. No open order may have its id.
    pub fn insert(&mut self, order: UserOrder) -> u64 {
        self.last += 1;
        self.ids.insert((order.account, order.client_order_id.clone()), self.last);
        self.open.insert(self.last, order);
        self.last
    }

    /// Takes an order that is done out, and keeps it as it is then.
    pub fn end(
        &mut self,
        tag: u64,
        state: OrderState,
        time: Nanos,
        reason: Option<Cow<'static, str>>,
    ) -> Option<&UserOrder> {
        let mut order = self.open.remove(&tag)?;
        order.end(state, time, reason);
        self.ids.remove(&(order.account, order.client_order_id.clone()));
        Some(self.keep(tag, order))
    }

    /// Keeps an order that never was open.
    pub fn refuse(&mut self, mut order: UserOrder, reason: String) -> &UserOrder {
        order.end(OrderState::Rejected, order.time, Some(reason.into()));
        self.last += 1;
        self.keep(self.last, order)
    }

    fn keep(&mut self, tag: u64, order: UserOrder) -> &UserOrder {
        let key = (order.account, order.client_order_id.clone());
        self.endings.push_back((tag, key.clone()));
        if self.endings.len() > Self::MAX_ENDED
            && let Some((tag, key)) = self.endings.pop_front()
            // A later order of the same id has taken its place.
            && self.ended.get(&key).is_some_and(|(kept, _)| *kept == tag)
        {
            self.ended.remove(&key);
        }
        self.ended.insert(key.clone(), (tag, order));
        &self.ended[&key].1
    }

    /// Finds an order, open or ended.
    pub fn known(&self, account: AccountId, client_order_id: &str) -> Option<&UserOrder> {
        let ended = || self.ended.get(&(account, client_order_id.to_owned())).map(|(_, order)| order);
        self.find(account, client_order_id).or_else(ended)
    }

    pub fn get_mut(&mut self, tag: u64) -> Option<&mut UserOrder> {
        self.open.get_mut(&tag)
    }

    pub fn find(&self, account: AccountId, client_order_id: &str) -> Option<&UserOrder> {
        self.open.get(self.ids.get(&(account, client_order_id.to_owned()))?)
    }

    pub fn of(&self, account: AccountId) -> impl Iterator<Item = &UserOrder> {
        self.open.values().filter(move |order| order.account == account)
    }

    /// The account's orders that something happened to at `time` or later, in the order of their last ends; open ones
    /// come last.
    pub fn changed_since(&self, account: AccountId, time: Nanos) -> impl Iterator<Item = &UserOrder> {
        let endings = self.endings.iter().filter_map(|(tag, key)| {
            self.ended.get(key).filter(|(kept, _)| kept == tag).map(|(_, order)| order)
        });
        endings.chain(self.open.values()).filter(move |order| order.account == account && order.time >= time)
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

    pub fn fills(&self) -> u64 {
        self.filled
    }

    pub fn fills_since(&self, account: AccountId, number: u64) -> impl Iterator<Item = &UserFill> {
        let from = self.fills.partition_point(|fill| fill.number <= number);
        self.fills.range(from..).filter(move |fill| fill.account == account)
    }
}
