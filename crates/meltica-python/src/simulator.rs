//! The Python class of the matching engine.

mod engine;
pub mod input;
mod setup;

use crate::convert::value_error;
use crate::locks::{Guard, Lock, Rank};
use engine::Exchange;
use input::{Id, Measure, kind, refused};
use meltica_core::event::Side;
use meltica_core::venue::{InstrumentRules, NewOrder};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping};
use setup::{Options, by_currency};

/// The docstring of `meltica._core.simulator`.
pub const DOC: &str = "\
The simulated exchange: a matching engine, and a synthetic market on a virtual clock.

Numbers are Decimal, str, int or float; results are exact decimals. `docs/simulator.md` has the rules.";

/// A limit order book of one instrument with price-time priority; `docs/simulator.md` has the rules.
///
/// Without options the only limits are those of the numbers (64 bits, 8 decimal places): no fees, no balances. With
/// `balances`, by account and currency, orders of these accounts need funds and reserve them; other accounts are
/// refused, and orders without an account have unlimited funds.
///
/// Fees are rates (0.001 is 0.1 %), charged in `quote`, in `base`, or in the currency that each side has `received`.
/// `self_trade` says what happens when two orders of one account meet: `allow`, `expire_taker`, `expire_maker` or
/// `expire_both`.
///
/// Raises `ConfigError`, which lists every fault.
#[pyclass(module = "meltica.simulator", name = "MatchingEngine", frozen, immutable_type)]
pub struct PyMatchingEngine {
    rules: InstrumentRules,
    symbol: String,
    exchange: Lock<Exchange>,
}

impl PyMatchingEngine {
    /// Locks the exchange; a waiting thread detaches from the interpreter.
    fn exchange(&self, py: Python<'_>) -> Guard<'_, Exchange> {
        self.exchange.lock_attached(py)
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
        let exchange = options.build(py)?;
        let symbol = exchange.currencies.join("-");
        Ok(Self { rules: *exchange.engine.rules(), symbol, exchange: Lock::new(Rank::Simulator, exchange) })
    }

    /// Matches a new order and returns its fills.
    ///
    /// `side` is `buy` or `sell` in any case, `time_in_force` is GTC, IOC or FOK. An order without a price is a market
    /// order: what it cannot fill expires. A sell at price 0 is one too.
    ///
    /// A float is rounded to the instrument's increment (quantity down, buy price down, sell price up) and refused if
    /// that changes it by more than 1e-9 of its value. Other types must be on the increment.
    ///
    /// Raises `OrderRefused`; the order then changes nothing and its id may be used again.
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
                format!("order {id}: expected a post-only order with a price and the time_in_force GTC");
            refused(py, "invalid_order", message)
        })?;
        let mut exchange = self.exchange(py);
        let account = exchange.account(py, account)?;
        exchange.submit(py, id, NewOrder { side, quantity, kind, account, self_trade, tag: 0 })
    }

    /// Changes an open order and returns the fills that its new price causes.
    ///
    /// `quantity` is the total quantity, including what is filled: at or below the filled quantity, the order is
    /// cancelled. A lower quantity at the same price keeps the place in the queue; any other change loses it.
    ///
    /// Raises `OrderRefused`; the order is then unchanged.
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
        let sells = self.exchange(py).side(py, &id)? == Some(Side::Sell);
        let price = price.map(|price| Measure::price(&self.rules).read(price, sells)).transpose()?;
        self.exchange(py).amend(py, &id, price, quantity)
    }

    /// Cancels an open order and returns its unfilled quantity. Raises `OrderRefused` if the order is not open.
    fn cancel<'py>(&self, order_id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let id = Id::new(order_id)?;
        let py = order_id.py();
        self.exchange(py).cancel(py, &id)
    }

    /// Returns the quantity that an order still has in the book: 0 once it is filled, cancelled or expired.
    fn remaining<'py>(&self, order_id: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let id = Id::new(order_id)?;
        let py = order_id.py();
        self.exchange(py).remaining(py, &id)
    }

    /// Returns the best `depth` levels of each side, or the whole book.
    #[pyo3(signature = (depth = None))]
    fn book<'py>(&self, py: Python<'py>, depth: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        self.exchange(py).book(py, depth.unwrap_or(usize::MAX))
    }

    /// Returns the balances of an account, by currency; negative ones only for an account without a funds check.
    fn balance<'py>(&self, py: Python<'py>, account: &str) -> PyResult<Bound<'py, PyDict>> {
        let exchange = self.exchange(py);
        let of = exchange.find_account(account);
        let of = of.ok_or_else(|| {
            value_error(format!("account: expected one with trades or balances, saw {account:?}"))
        })?;
        by_currency(py, &exchange.currencies, exchange.balances(py, of)?)
    }

    /// All fees charged so far, by currency.
    #[getter]
    fn fees<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let exchange = self.exchange(py);
        by_currency(py, &exchange.currencies, exchange.fees(py)?)
    }

    /// The instrument, such as `BTC-USDT`.
    #[getter]
    fn symbol(&self) -> &str {
        &self.symbol
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let exchange = self.exchange(py);
        let best = |side| {
            exchange.engine.best(side).map_or("-".into(), |level| self.rules.price(level.price).to_string())
        };
        format!("MatchingEngine({}, bid={}, ask={})", self.symbol, best(Side::Buy), best(Side::Sell))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyMatchingEngine>()
}
