//! The orders and fills of accounts.

use crate::event::{Nanos, OrderState, Side};
use crate::venue::{AccountId, AssetId, OrderId, OrderKind, Reject};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// A new order of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The client order id; at most one open order of an account may have it. Orders of another client of the account
    /// have none: theirs is empty.
    pub client_order_id: String,
    /// Buy or sell.
    pub side: Side,
    /// Quantity.
    pub quantity: i64,
    /// How the order trades.
    pub kind: OrderKind,
}

/// An order of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserOrder {
    /// The client order id.
    pub client_order_id: String,
    /// The venue order id; `None` when the order was refused.
    pub order: Option<OrderId>,
    /// The account that owns the order.
    pub account: AccountId,
    /// Index of the instrument.
    pub pair: usize,
    /// Buy or sell.
    pub side: Side,
    /// How the order trades.
    pub kind: OrderKind,
    /// Current limit.
    pub price: Option<i64>,
    /// Current total quantity.
    pub quantity: i64,
    /// Quantity filled so far.
    pub filled: i64,
    /// Sum of price times quantity over its fills.
    pub notional: i128,
    /// Sum of its fees so far, if all were charged in one asset.
    pub fee: i128,
    /// The asset of its fees; `None` before the first fill.
    pub fee_asset: Option<AssetId>,
    /// Whether its fees were charged in more than one asset.
    pub mixed_fees: bool,
    /// State.
    pub state: OrderState,
    /// Time of the last change.
    pub time: Nanos,
    /// Why the order was rejected or expired.
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
            fee_asset: None,
            mixed_fees: false,
            state: OrderState::Ack,
            time,
            reason: None,
        }
    }

    /// Adds a fill.
    pub(super) fn fill(&mut self, price: i64, quantity: i64, (fee_asset, fee): (AssetId, i128)) {
        self.filled += quantity;
        self.notional += i128::from(price) * i128::from(quantity);
        self.fee += fee;
        self.mixed_fees |= self.fee_asset.is_some_and(|asset| asset != fee_asset);
        self.fee_asset = Some(fee_asset);
    }

    /// Sets the state.
    pub(super) fn set_state(&mut self, state: OrderState, time: Nanos) {
        (self.state, self.time) = (state, time);
    }

    /// Sets a final state.
    pub(super) fn end(&mut self, state: OrderState, time: Nanos, reason: Option<Cow<'static, str>>) {
        self.set_state(state, time);
        self.reason = reason;
    }
}

/// A fill of an account's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFill {
    /// Counts the venue's fills from 1. The two sides of a trade are two fills.
    pub number: u64,
    /// Virtual time.
    pub time: Nanos,
    /// The account that owns the order.
    pub account: AccountId,
    /// Index of the instrument.
    pub pair: usize,
    /// The venue order id.
    pub order: OrderId,
    /// The client order id.
    pub client_order_id: String,
    /// Counts the instrument's trades from 1.
    pub trade_id: u64,
    /// The order's side.
    pub side: Side,
    /// Price.
    pub price: i64,
    /// Quantity.
    pub quantity: i64,
    /// The fee; negative for a rebate.
    pub fee: i128,
    /// The asset of the fee.
    pub fee_asset: AssetId,
    /// Whether the order was the maker.
    pub maker: bool,
    /// Whether clients do not see it, as a simulated fault.
    pub withheld: bool,
}

/// Why a request of an account was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The engine refused it: the reason, and one line for people.
    #[error("{1}")]
    Engine(Reject, String),
    /// An open order of the account has the same client order id.
    #[error("expected a client order id that no open order has, saw {0}")]
    DuplicateId(String),
    /// No open order of the account has the client order id.
    #[error("expected the client order id of an open order, saw {0}")]
    UnknownOrder(String),
    /// The simulated fault `reject` refused it.
    #[error("the simulated fault `reject` refused the order")]
    Injected,
}

impl Refusal {
    /// Returns the machine-readable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Engine(reject, _) => reject.code(),
            Self::DuplicateId(_) => "duplicate_client_id",
            Self::UnknownOrder(_) => "unknown_order",
            Self::Injected => "venue_rejected",
        }
    }
}

/// Account and client order id.
type ClientKey = (AccountId, String);

/// Returns the key of an order. One without a client order id has a key of its own, which no client can ask for.
fn key(tag: u64, order: &UserOrder) -> ClientKey {
    let id = &order.client_order_id;
    (order.account, if id.is_empty() { format!("\0{tag}") } else { id.clone() })
}

/// The open orders, the last closed orders and the last fills of all accounts.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders {
    open: BTreeMap<u64, UserOrder>,
    ids: BTreeMap<ClientKey, u64>,
    last: u64,
    /// The last closed order of each client order id, and its tag.
    ended: BTreeMap<ClientKey, (u64, UserOrder)>,
    endings: VecDeque<(u64, ClientKey)>,
    fills: VecDeque<UserFill>,
    filled: u64,
}

impl Orders {
    /// How many fills to keep: about 150 MB.
    const MAX_FILLS: usize = 1 << 20;
    /// How many closed orders to keep.
    const MAX_ENDED: usize = 100_000;

    /// Adds an open order and returns its tag. No open order may have the same client order id.
    pub fn insert(&mut self, order: UserOrder) -> u64 {
        self.last += 1;
        self.ids.insert(key(self.last, &order), self.last);
        self.open.insert(self.last, order);
        self.last
    }

    /// Moves an order to the closed orders with its final state.
    pub fn end(
        &mut self,
        tag: u64,
        state: OrderState,
        time: Nanos,
        reason: Option<Cow<'static, str>>,
    ) -> Option<&UserOrder> {
        let mut order = self.take(tag)?;
        order.end(state, time, reason);
        Some(self.keep(tag, order))
    }

    fn take(&mut self, tag: u64) -> Option<UserOrder> {
        let order = self.open.remove(&tag)?;
        self.ids.remove(&key(tag, &order));
        Some(order)
    }

    /// Forgets an order. Returns it if it was open.
    pub fn forget(&mut self, account: AccountId, client_order_id: &str) -> Option<UserOrder> {
        let key = (account, client_order_id.to_owned());
        if let Some(&tag) = self.ids.get(&key) {
            return self.take(tag);
        }
        self.ended.remove(&key);
        None
    }

    /// Adds a rejected order to the closed orders.
    pub fn refuse(&mut self, mut order: UserOrder, reason: String) -> &UserOrder {
        order.end(OrderState::Rejected, order.time, Some(reason.into()));
        self.last += 1;
        self.keep(self.last, order)
    }

    fn keep(&mut self, tag: u64, order: UserOrder) -> &UserOrder {
        let key = key(tag, &order);
        self.endings.push_back((tag, key.clone()));
        if self.endings.len() > Self::MAX_ENDED
            && let Some((tag, key)) = self.endings.pop_front()
            // A later order with the same id may have replaced it.
            && self.ended.get(&key).is_some_and(|(kept, _)| *kept == tag)
        {
            self.ended.remove(&key);
        }
        self.ended.insert(key.clone(), (tag, order));
        &self.ended[&key].1
    }

    /// Returns an order, open or closed.
    pub fn find(&self, account: AccountId, client_order_id: &str) -> Option<&UserOrder> {
        let ended = || self.ended.get(&(account, client_order_id.to_owned())).map(|(_, order)| order);
        self.find_open(account, client_order_id).or_else(ended)
    }

    /// Returns an open order by its tag.
    pub fn get_mut(&mut self, tag: u64) -> Option<&mut UserOrder> {
        self.open.get_mut(&tag)
    }

    /// Returns an open order.
    pub fn find_open(&self, account: AccountId, client_order_id: &str) -> Option<&UserOrder> {
        self.open.get(self.ids.get(&(account, client_order_id.to_owned()))?)
    }

    /// Returns the open orders of an account, oldest first.
    pub fn of(&self, account: AccountId) -> impl Iterator<Item = &UserOrder> {
        self.open.values().filter(move |order| order.account == account)
    }

    /// Returns the account's orders that changed at `time` or later: closed orders in the order of their ends, then
    /// open orders.
    pub fn changed_since(&self, account: AccountId, time: Nanos) -> impl Iterator<Item = &UserOrder> {
        let endings = self.endings.iter().filter_map(|(tag, key)| {
            self.ended.get(key).filter(|(kept, _)| kept == tag).map(|(_, order)| order)
        });
        endings.chain(self.open.values()).filter(move |order| order.account == account && order.time >= time)
    }

    /// Numbers and keeps a fill.
    pub fn fill(&mut self, mut fill: UserFill) -> &UserFill {
        self.filled += 1;
        fill.number = self.filled;
        if self.fills.len() == Self::MAX_FILLS {
            self.fills.pop_front();
        }
        self.fills.push_back(fill);
        &self.fills[self.fills.len() - 1]
    }

    /// Returns the number of fills.
    pub fn fills(&self) -> u64 {
        self.filled
    }

    /// Returns the kept fills with a greater number that clients see.
    pub fn fills_since(&self, number: u64) -> impl Iterator<Item = &UserFill> {
        let from = self.fills.partition_point(|fill| fill.number <= number);
        self.fills.range(from..).filter(|fill| !fill.withheld)
    }

    /// Lists the withheld fills from now on.
    pub fn list_withheld(&mut self) {
        for fill in &mut self.fills {
            fill.withheld = false;
        }
    }
}
