//! A matching engine with its ledger and the names of orders and accounts.

use super::input::{Id, refused};
use crate::convert::{model, py_decimal, py_side};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Nanos, Side};
use meltica_core::venue::{
    AccountId, AssetId, BookLevel, CloseReason, Command, Engine, Fill, Ledger, NewOrder, OrderId, Outcome,
    Party,
};
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use std::collections::HashMap;

/// The time of every command: this engine has no clock.
const NOW: Nanos = 0;

/// A matching engine whose orders and accounts have names.
pub struct Exchange {
    pub engine: Engine,
    ledger: Ledger,
    pub currencies: [String; 2],
    /// Whether only accounts with initial balances may trade.
    closed: bool,
    accounts: HashMap<String, AccountId>,
    names: HashMap<AccountId, String>,
    /// The tag of each order, an index of `orders`.
    tags: HashMap<Id, usize>,
    orders: Vec<(Id, OrderId)>,
    out: Vec<Outcome>,
}

impl Exchange {
    pub fn new(
        engine: Engine,
        ledger: Ledger,
        currencies: [String; 2],
        accounts: Vec<(String, AccountId)>,
        closed: bool,
    ) -> Self {
        let names = accounts.iter().map(|(name, account)| (*account, name.clone())).collect();
        let accounts = accounts.into_iter().collect();
        let (tags, orders, out) = (HashMap::new(), Vec::new(), Vec::new());
        Self { engine, ledger, currencies, closed, accounts, names, tags, orders, out }
    }

    /// Returns the account with a name. Opens it unless only accounts with initial balances may trade.
    pub fn account(&mut self, py: Python<'_>, name: Option<&str>) -> PyResult<AccountId> {
        let Some(name) = name else { return Ok(AccountId::OUTSIDE) };
        if let Some(account) = self.accounts.get(name) {
            return Ok(*account);
        }
        if self.closed {
            let message = format!("account: expected one with balances, saw {name:?}");
            return Err(refused(py, "unknown_account", message));
        }
        let account = self.ledger.open(false);
        self.accounts.insert(name.to_owned(), account);
        self.names.insert(account, name.to_owned());
        Ok(account)
    }

    /// Returns the account with a name, if it exists.
    pub fn find_account(&self, name: &str) -> Option<AccountId> {
        self.accounts.get(name).copied()
    }

    /// Returns the side of an open order.
    pub fn side(&self, py: Python<'_>, id: &Id) -> PyResult<Option<Side>> {
        Ok(self.engine.order(self.find(py, id)?).map(|open| open.side))
    }

    pub fn submit<'py>(
        &mut self,
        py: Python<'py>,
        id: Id,
        mut order: NewOrder,
    ) -> PyResult<Bound<'py, PyList>> {
        if self.tags.contains_key(&id) {
            let message = format!("order {id}: expected an unused order id, saw a used one");
            return Err(refused(py, "duplicate_order_id", message));
        }
        order.tag = self.orders.len() as u64;
        self.run(py, &id, Command::New(order))?;
        if let Some(Outcome::Accepted { order, .. }) = self.out.first() {
            self.tags.insert(id.clone(), self.orders.len());
            self.orders.push((id, *order));
        }
        self.fills(py)
    }

    pub fn amend<'py>(
        &mut self,
        py: Python<'py>,
        id: &Id,
        price: Option<i64>,
        quantity: Option<i64>,
    ) -> PyResult<Bound<'py, PyList>> {
        let order = self.find(py, id)?;
        self.run(py, id, Command::Amend { order, price, quantity })?;
        self.fills(py)
    }

    /// Cancels an order and returns the cancelled quantity.
    pub fn cancel<'py>(&mut self, py: Python<'py>, id: &Id) -> PyResult<Bound<'py, PyAny>> {
        let order = self.find(py, id)?;
        self.run(py, id, Command::Cancel(order))?;
        let cancelled = self.out.iter().find_map(|outcome| match outcome {
            Outcome::Closed { unfilled, reason: CloseReason::Cancelled, .. } => Some(*unfilled),
            _ => None,
        });
        py_decimal(py, self.engine.rules().quantity(cancelled.unwrap_or(0)).normalize())
    }

    pub fn remaining<'py>(&self, py: Python<'py>, id: &Id) -> PyResult<Bound<'py, PyAny>> {
        let remaining = self.engine.order(self.find(py, id)?).map_or(0, |open| open.remaining);
        py_decimal(py, self.engine.rules().quantity(remaining).normalize())
    }

    pub fn book<'py>(&self, py: Python<'py>, depth: usize) -> PyResult<Bound<'py, PyAny>> {
        let side = |side| {
            let levels = self.engine.levels(side).take(depth).map(|level| self.level(py, level));
            PyTuple::new(py, levels.collect::<PyResult<Vec<_>>>()?)
        };
        model!(
            py,
            "meltica.model.books",
            "OrderBook",
            (side(Side::Buy)?, side(Side::Sell)?, self.engine.update_id())
        )
    }

    fn level<'py>(&self, py: Python<'py>, level: BookLevel) -> PyResult<Bound<'py, PyAny>> {
        let rules = self.engine.rules();
        let (price, quantity) =
            (rules.price(level.price).normalize(), rules.quantity(level.quantity).normalize());
        model!(
            py,
            "meltica.model.books",
            "BookLevel",
            (py_decimal(py, price)?, py_decimal(py, quantity)?, level.orders)
        )
    }

    /// Returns an account's balances of base and quote.
    pub fn balances<'py>(&self, py: Python<'py>, account: AccountId) -> PyResult<[Bound<'py, PyAny>; 2]> {
        let of = |asset| {
            let balance = self.ledger.balance(account, asset);
            let [total, available] =
                [balance.total, balance.total - balance.reserved].map(|units| self.money(asset, units));
            let parts = (py_decimal(py, total)?, py_decimal(py, available)?, NOW);
            model!(py, "meltica.model.balances", "Balance", parts)
        };
        Ok([of(self.engine.base())?, of(self.engine.quote())?])
    }

    /// Returns all fees so far, in base and quote.
    pub fn fees<'py>(&self, py: Python<'py>) -> PyResult<[Bound<'py, PyAny>; 2]> {
        let of = |asset| py_decimal(py, self.money(asset, self.ledger.balance(AccountId::FEES, asset).total));
        Ok([of(self.engine.base())?, of(self.engine.quote())?])
    }

    fn find(&self, py: Python<'_>, id: &Id) -> PyResult<OrderId> {
        let order = self.tags.get(id).and_then(|tag| self.orders.get(*tag));
        order.map(|(_, order)| *order).ok_or_else(|| {
            let message = format!("order {id}: expected the id of an accepted order, saw another");
            refused(py, "unknown_order", message)
        })
    }

    fn run(&mut self, py: Python<'_>, id: &Id, command: Command) -> PyResult<()> {
        self.out.clear();
        self.engine.process(&mut self.ledger, command, NOW, &mut self.out);
        if let [Outcome::Rejected(reject)] = self.out[..] {
            let why = self.engine.explain(&self.ledger, &command, reject);
            return Err(refused(py, reject.code(), format!("order {id}: {why}")));
        }
        Ok(())
    }

    fn fills<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let fills = PyList::empty(py);
        for outcome in &self.out {
            if let Outcome::Filled(fill) = outcome {
                fills.append(self.fill(py, fill)?)?;
            }
        }
        Ok(fills)
    }

    fn fill<'py>(&self, py: Python<'py>, fill: &Fill) -> PyResult<Bound<'py, PyAny>> {
        let maker_side = if fill.taker_side == Side::Buy { Side::Sell } else { Side::Buy };
        let [maker_asset, taker_asset] =
            [maker_side, fill.taker_side].map(|side| self.engine.fee_asset(side));
        let order =
            |party: &Party| self.orders.get(party.tag as usize).map(|(id, _)| id.to_py(py)).transpose();
        let fee = |party: &Party, asset| py_decimal(py, self.money(asset, party.fee));
        let account = |party: &Party| self.names.get(&party.account);
        let rules = self.engine.rules();
        let parts = (
            order(&fill.maker)?,
            order(&fill.taker)?,
            py_decimal(py, rules.price(fill.price).normalize())?,
            py_decimal(py, rules.quantity(fill.quantity).normalize())?,
            fill.trade_id,
            py_side(py, fill.taker_side)?,
            account(&fill.maker),
            account(&fill.taker),
            fee(&fill.maker, maker_asset)?,
            self.currency(maker_asset),
            fee(&fill.taker, taker_asset)?,
            self.currency(taker_asset),
        );
        model!(py, "meltica.model.fills", "EngineTrade", parts)
    }

    fn money(&self, asset: AssetId, units: i128) -> Decimal {
        // The scales were checked when the engine was created.
        Decimal::new(units, self.ledger.scale(asset)).unwrap_or(Decimal::ZERO).normalize()
    }

    fn currency(&self, asset: AssetId) -> &str {
        &self.currencies[usize::from(asset == self.engine.quote())]
    }
}
