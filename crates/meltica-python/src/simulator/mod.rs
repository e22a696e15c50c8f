//! The matching engine as Python sees it.

pub mod input;
mod market;
mod setup;

use crate::convert::value_error;
use input::{Id, Measure, kind, refused};
use market::Market;
use meltica_core::event::Side;
use meltica_core::venue::{NewOrder, Rules};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyDict, PyList, PyMapping};
use setup::{Options, by_currency};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[pyclass(module = "meltica.simulator", name = "MatchingEngine", frozen)]
pub struct PyMatchingEngine {
    rules: Rules,
    symbol: String,
    market: Mutex<Market>,
}

impl PyMatchingEngine {
    /// Whoever waits for it lets go of the interpreter.
    fn market(&self, py: Python<'_>) -> MutexGuard<'_, Market> {
        self.market.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl PyMatchingEngine {
    #[new]
    #[pyo3(signature = (symbol = "BASE-QUOTE", *, tick_size = None, lot_size = None, min_quantity = None,
        max_quantity = None, min_notional = None, maker_fee = None, taker_fee = None, fee_in = "quote",
        self_trade = "allow", balances = None))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        symbol: &str,
        tick_size: Option<Bound<'_, PyAny>>,
        lot_size: Option<Bound<'_, PyAny>>,
        min_quantity: Option<Bound<'_, PyAny>>,
        max_quantity: Option<Bound<'_, PyAny>>,
        min_notional: Option<Bound<'_, PyAny>>,
        maker_fee: Option<Bound<'_, PyAny>>,
        taker_fee: Option<Bound<'_, PyAny>>,
        fee_in: &str,
        self_trade: &str,
        balances: Option<Bound<'_, PyMapping>>,
    ) -> PyResult<Self> {
        let options = Options {
            symbol,
            tick_size,
            lot_size,
            min_quantity,
            max_quantity,
            min_notional,
            maker_fee,
            taker_fee,
            fee_in,
            self_trade,
            balances,
        };
        let market = options.build(py)?;
        let symbol = market.currencies.join("-");
        Ok(Self { rules: *market.engine.rules(), symbol, market: Mutex::new(market) })
    }

    #[pyo3(signature = (order_id, side, quantity, price = None, time_in_force = "GTC", post_only = false, account = None, *,
        self_trade = None))]
    #[allow(clippy::too_many_arguments)]
    fn submit<'py>(
        &self,
        order_id: &Bound<'py, PyAny>,
        side: &str,
        quantity: &Bound<'py, PyAny>,
        price: Option<&Bound<'py, PyAny>>,
        time_in_force: &str,
        post_only: bool,
        account: Option<&str>,
        self_trade: Option<&str>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = order_id.py();
        let id = Id::new(order_id)?;
        let side = input::side(side)?;
        let self_trade = self_trade.map(input::self_trade).transpose()?;
        let quantity = Measure::quantity(&self.rules).read(quantity, false)?;
        let price =
            price.map(|price| Measure::price(&self.rules).read(price, side == Side::Sell)).transpose()?;
        let kind = kind(side, price, time_in_force, post_only)?.ok_or_else(|| {
            let message =
                format!("order {id}: expected a post-only order to have a price and the time_in_force GTC");
            refused(py, "invalid_order", message)
        })?;
        let mut market = self.market(py);
        let account = market.account(py, account)?;
        market.submit(py, id, NewOrder { side, quantity, kind, account, self_trade, tag: 0 })
    }

    #[pyo3(signature = (order_id, quantity = None, price = None))]
    fn amend<'py>(
        &self,
        order_id: &Bound<'py, PyAny>,
        quantity: Option<&Bound<'py, PyAny>>,
        price: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = order_id.py();
        let id = Id::new(order_id)?;
        let quantity =
            quantity.map(|quantity| Measure::quantity(&self.rules).read(quantity, false)).transpose()?;
        let sells = self.market(py).side(py, &id)? == Some(Side::Sell);
        let price = price.map(|price| Measure::price(&self.rules).read(price, sells)).transpose()?;
        self.market(py).amend(py, &id, price, quantity)
    }

    fn cancel<'py>(&self, order_id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let id = Id::new(order_id)?;
        let py = order_id.py();
        self.market(py).cancel(py, &id)
    }

    fn remaining<'py>(&self, order_id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let id = Id::new(order_id)?;
        let py = order_id.py();
        self.market(py).remaining(py, &id)
    }

    #[pyo3(signature = (depth = None))]
    fn book<'py>(&self, py: Python<'py>, depth: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        self.market(py).book(py, depth.unwrap_or(usize::MAX))
    }

    fn balance<'py>(&self, py: Python<'py>, account: &str) -> PyResult<Bound<'py, PyDict>> {
        let market = self.market(py);
        let of = market.known(account);
        let of = of.ok_or_else(|| {
            value_error(format!("account: expected one that traded or has balances, seen {account:?}"))
        })?;
        by_currency(py, &market.currencies, market.balances(py, of)?)
    }

    #[getter]
    fn fees<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let market = self.market(py);
        by_currency(py, &market.currencies, market.fees(py)?)
    }

    #[getter]
    fn symbol(&self) -> &str {
        &self.symbol
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let market = self.market(py);
        let best = |side| {
            market.engine.best(side).map_or("-".into(), |level| self.rules.price(level.price).to_string())
        };
        format!("MatchingEngine({}, bid={}, ask={})", self.symbol, best(Side::Buy), best(Side::Sell))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyMatchingEngine>()
}
