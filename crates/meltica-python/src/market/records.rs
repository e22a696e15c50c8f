//! A market's orders, fills, balances and books as Python objects.

use crate::convert::{model, py_decimal, py_liquidity, py_side};
use crate::payload::exec_to_dict;
use meltica_core::decimal::Decimal;
use meltica_core::event::{Liquidity, Side};
use meltica_core::venue::market::{Market, Pair, UserFill, UserOrder, exec_report};
use meltica_core::venue::{AccountId, AssetId, BookLevel};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

/// Returns the state of an order with its `symbol` and `time`.
pub fn order_dict<'py>(py: Python<'py>, market: &Market, order: &UserOrder) -> PyResult<Bound<'py, PyDict>> {
    let pair = &market.pairs()[order.pair];
    let report = exec_report(pair, order, None, |asset| (name(market, asset), market.scale(asset)));
    let out = exec_to_dict(py, &report)?;
    out.set_item("symbol", &pair.instrument().symbol)?;
    out.set_item("time", order.time)?;
    Ok(out)
}

fn name(market: &Market, asset: AssetId) -> &str {
    let found = market.assets().iter().find(|(_, id)| *id == asset);
    found.map_or("", |(name, _)| name)
}

/// Returns an account's balances at the market's time, by currency.
pub fn balances<'py>(py: Python<'py>, market: &Market, account: AccountId) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (name, asset, balance) in market.balances(account) {
        let [total, available] = [balance.total, balance.available()]
            .map(|units| py_decimal(py, market.money(asset, units).normalize()));
        let parts = (total?, available?, market.now());
        out.set_item(name, model!(py, "meltica.model.balances", "Balance", parts)?)?;
    }
    Ok(out)
}

fn book_level<'py>(py: Python<'py>, pair: &Pair, level: BookLevel) -> PyResult<Bound<'py, PyAny>> {
    let (price, quantity) = (pair.rules().price(level.price), pair.rules().quantity(level.quantity));
    let parts = (py_decimal(py, price.normalize())?, py_decimal(py, quantity.normalize())?, level.orders);
    model!(py, "meltica.model.books", "BookLevel", parts)
}

/// A fill of an account, to be converted without the market.
pub struct FillRecord {
    fill: UserFill,
    symbol: String,
    price: Decimal,
    quantity: Decimal,
    fee: Decimal,
    currency: String,
}

impl FillRecord {
    /// Copies a fill of the market.
    pub fn new(market: &Market, fill: &UserFill) -> Self {
        let pair = &market.pairs()[fill.pair];
        Self {
            symbol: pair.instrument().symbol.clone(),
            price: pair.rules().price(fill.price),
            quantity: pair.rules().quantity(fill.quantity),
            fee: market.money(fill.fee_asset, fill.fee),
            currency: name(market, fill.fee_asset).to_owned(),
            fill: fill.clone(),
        }
    }

    /// Returns the fill as a Python object.
    pub fn into_py(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        let Self { fill, symbol, price, quantity, fee, currency } = self;
        let number = |value: Decimal| py_decimal(py, value.normalize());
        let liquidity = if fill.maker { Liquidity::Maker } else { Liquidity::Taker };
        let parts = (
            fill.number.to_string(),
            fill.time,
            symbol,
            fill.client_order_id,
            fill.order.0.to_string(),
            py_side(py, fill.side)?,
            number(price)?,
            number(quantity)?,
            number(fee)?,
            currency,
            py_liquidity(py, liquidity)?,
            fill.trade_id.to_string(),
        );
        model!(py, "meltica.model.fills", "Fill", parts)
    }
}

/// Returns all balances of the market.
pub fn ledger<'py>(
    py: Python<'py>,
    market: &Market,
    names: &[(String, AccountId)],
) -> PyResult<Bound<'py, PyDict>> {
    let accounts = PyDict::new(py);
    for (name, account) in names {
        accounts.set_item(name, balances(py, market, *account)?)?;
    }
    let totals = |account| -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        for (name, asset, balance) in market.balances(account) {
            out.set_item(name, py_decimal(py, market.money(asset, balance.total).normalize())?)?;
        }
        Ok(out)
    };
    let out = PyDict::new(py);
    out.set_item("time", market.now())?;
    out.set_item("accounts", accounts)?;
    out.set_item("outside", totals(AccountId::OUTSIDE)?)?;
    out.set_item("fees", totals(AccountId::FEES)?)?;
    out.set_item("fills", market.fills())?;
    Ok(out)
}

/// Returns the best `depth` levels of either side.
pub fn order_book<'py>(py: Python<'py>, pair: &Pair, depth: usize) -> PyResult<Bound<'py, PyAny>> {
    let side = |side| {
        let levels = pair.engine().levels(side).take(depth).map(|level| book_level(py, pair, level));
        PyTuple::new(py, levels.collect::<PyResult<Vec<_>>>()?)
    };
    let parts = (side(Side::Buy)?, side(Side::Sell)?, pair.engine().update_id());
    model!(py, "meltica.model.books", "OrderBook", parts)
}
