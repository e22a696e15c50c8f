//! A synthetic market as Python sees it: one account trades on it, and a producer tells what happens.

mod run;
mod setup;

use crate::convert::{py_decimal, py_side, value_error};
use crate::payload::exec_to_dict;
use crate::producer::PyProducer;
use crate::simulator::input::{Measure, kind, refused, side};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Nanos, OrderState, Side};
use meltica_core::venue::market::{Broadcasting, Market, Pair, Refusal, Request, UserFill};
use meltica_core::venue::{BookLevel, Rules};
use pyo3::prelude::*;
use pyo3::sync::{MutexExt, PyOnceLock};
use pyo3::types::{PyDict, PyList, PyTuple, PyType};
use run::State;
use setup::Options;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Makes one of the tuples of `meltica.simulator.types`.
macro_rules! tuple {
    ($py:expr, $name:literal, $parts:expr) => {{
        static KIND: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        KIND.import($py, "meltica.simulator.types", $name).and_then(|kind| kind.call1($parts))
    }};
}

#[pyclass(module = "meltica._core", name = "SyntheticMarket", frozen)]
pub struct PySyntheticMarket {
    producer: Py<PyProducer>,
    state: Mutex<State>,
    /// Threads that want the state while a run has it most of the time.
    waiting: AtomicUsize,
}

impl PySyntheticMarket {
    /// Whoever waits for it lets go of the interpreter.
    fn state(&self, py: Python<'_>) -> MutexGuard<'_, State> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let state = self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        state
    }

    /// Does something that is told, at the time that it is by now.
    fn act<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Market, &mut Broadcasting<'_>) -> R + Send,
    ) -> R {
        py.detach(|| {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            state.tell(self.producer.get(), act)
        })
    }

    fn pair(state: &State, symbol: &str) -> PyResult<usize> {
        let name = symbol.replace('/', "-");
        let found = state.market.pairs().iter().position(|pair| pair.instrument().symbol == name);
        found.ok_or_else(|| value_error(format!("symbol: expected one of the market's, seen {symbol:?}")))
    }
}

/// Raises what an account is refused with.
fn raise(py: Python<'_>, refusal: &Refusal) -> PyErr {
    refused(py, refusal.code(), refusal.to_string())
}

fn rules(state: &State, pair: usize) -> Rules {
    *state.market.pairs()[pair].rules()
}

#[pymethods]
impl PySyntheticMarket {
    #[new]
    fn new(
        py: Python<'_>,
        producer: Py<PyProducer>,
        options: Options<'_>,
        symbols: Vec<setup::Listed<'_>>,
    ) -> PyResult<Self> {
        let state = Mutex::new(options.build(py, symbols)?);
        Ok(Self { producer, state, waiting: AtomicUsize::new(0) })
    }

    /// The part of the background's actions that take, at least.
    #[classattr]
    const TAKERS: f64 = meltica_core::venue::market::TAKERS;

    /// Tells every instrument and balance.
    fn announce(&self, py: Python<'_>) {
        self.act(py, |market, to| {
            to.instruments(market);
            to.balances(market);
        });
    }

    #[pyo3(signature = (*, speed = None, until = None))]
    fn run(&self, py: Python<'_>, speed: Option<f64>, until: Option<Nanos>) -> PyResult<()> {
        if speed.is_some_and(|speed| !(speed > 0.0 && speed <= 1e6)) {
            return Err(value_error("expected a speed above 0 to 1e6, or None for as fast as possible"));
        }
        let until = until.unwrap_or(Nanos::MAX);
        py.detach(|| run::run(&self.state, self.producer.get(), &self.waiting, speed, until))
    }

    fn advance(&self, py: Python<'_>, until: Nanos) {
        py.detach(|| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // Whether a reader's wait was stopped is the producer's to tell.
            let _stopped = state.advance(self.producer.get(), until, None);
        });
    }

    #[getter]
    fn now(&self, py: Python<'_>) -> Nanos {
        self.state(py).market.now()
    }

    #[pyo3(signature = (client_order_id, symbol, side, quantity, price = None, tif = "GTC", post_only = false))]
    #[allow(clippy::too_many_arguments)]
    fn submit(
        &self,
        py: Python<'_>,
        client_order_id: &str,
        symbol: &str,
        side: &str,
        quantity: &Bound<'_, PyAny>,
        price: Option<&Bound<'_, PyAny>>,
        tif: &str,
        post_only: bool,
    ) -> PyResult<String> {
        let side = self::side(side)?;
        let (pair, account, rules) = {
            let state = self.state(py);
            let pair = Self::pair(&state, symbol)?;
            (pair, state.account, rules(&state, pair))
        };
        let quantity = Measure::quantity(&rules).read(quantity, false)?;
        let price = price.map(|price| Measure::price(&rules).read(price, side == Side::Sell)).transpose()?;
        let kind = kind(side, price, tif, post_only)?.ok_or_else(|| {
            let text = format!(
                "order {client_order_id}: expected a post-only order to have a price and the tif GTC"
            );
            refused(py, "invalid_order", text)
        })?;
        let request = Request { client_id: client_order_id.to_owned(), side, quantity, kind };
        let answer = self.act(py, |market, to| market.submit(account, pair, &request, to));
        answer.map(|order| order.0.to_string()).map_err(|refusal| raise(py, &refusal))
    }

    fn cancel(&self, py: Python<'_>, client_order_id: &str) -> PyResult<()> {
        let account = self.state(py).account;
        let answer = self.act(py, |market, to| market.cancel(account, client_order_id, to));
        answer.map_err(|refusal| raise(py, &refusal))
    }

    #[pyo3(signature = (client_order_id, quantity = None, price = None))]
    fn amend(
        &self,
        py: Python<'_>,
        client_order_id: &str,
        quantity: Option<&Bound<'_, PyAny>>,
        price: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (account, known) = {
            let state = self.state(py);
            let order =
                state.market.open_orders(state.account).find(|order| order.client_id == client_order_id);
            (state.account, order.map(|order| (order.side, rules(&state, order.pair))))
        };
        let Some((side, rules)) = known else {
            return Err(raise(py, &Refusal::UnknownOrder(client_order_id.to_owned())));
        };
        let quantity =
            quantity.map(|quantity| Measure::quantity(&rules).read(quantity, false)).transpose()?;
        let price = price.map(|price| Measure::price(&rules).read(price, side == Side::Sell)).transpose()?;
        let answer = self.act(py, |market, to| market.amend(account, client_order_id, price, quantity, to));
        answer.map_err(|refusal| raise(py, &refusal))
    }

    fn open_orders<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let state = self.state(py);
        let orders = PyList::empty(py);
        for order in state.market.open_orders(state.account) {
            let pair = &state.market.pairs()[order.pair];
            let told = if order.filled == 0 { OrderState::Ack } else { OrderState::Partial };
            let out = exec_to_dict(py, &state.broadcast.exec_report(pair, order, told, None))?;
            out.set_item("symbol", &pair.instrument().symbol)?;
            orders.append(out)?;
        }
        Ok(orders)
    }

    #[pyo3(signature = (number = 0))]
    fn fills_since<'py>(&self, py: Python<'py>, number: u64) -> PyResult<Bound<'py, PyList>> {
        let state = self.state(py);
        let fills = PyList::empty(py);
        for fill in state.market.fills_since(state.account, number) {
            fills.append(account_fill(py, &state.market, fill)?)?;
        }
        Ok(fills)
    }

    fn balances<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.state(py);
        let out = PyDict::new(py);
        for (name, asset, balance) in state.market.balances(state.account) {
            let [total, reserved] = [balance.total, balance.reserved]
                .map(|units| py_decimal(py, state.market.money(asset, units).normalize()));
            out.set_item(name, tuple!(py, "Balance", (total?, reserved?))?)?;
        }
        Ok(out)
    }

    #[pyo3(signature = (symbol, depth = None))]
    fn book<'py>(&self, py: Python<'py>, symbol: &str, depth: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let state = self.state(py);
        let pair = &state.market.pairs()[Self::pair(&state, symbol)?];
        let side = |side| {
            let levels = pair.engine().levels(side).take(depth.unwrap_or(usize::MAX));
            let levels = levels.map(|level| book_level(py, pair, level));
            PyTuple::new(py, levels.collect::<PyResult<Vec<_>>>()?)
        };
        tuple!(py, "OrderBook", (side(Side::Buy)?, side(Side::Sell)?, pair.engine().update_id()))
    }
}

fn book_level<'py>(py: Python<'py>, pair: &Pair, level: BookLevel) -> PyResult<Bound<'py, PyAny>> {
    let (price, quantity) = (pair.rules().price(level.price), pair.rules().quantity(level.quantity));
    let parts = (py_decimal(py, price.normalize())?, py_decimal(py, quantity.normalize())?, level.orders);
    tuple!(py, "BookLevel", parts)
}

fn account_fill<'py>(py: Python<'py>, market: &Market, fill: &UserFill) -> PyResult<Bound<'py, PyAny>> {
    let pair = &market.pairs()[fill.pair];
    let asset = pair.engine().fee_asset(fill.side);
    let currency = market.assets().iter().find(|(_, id)| *id == asset).map(|(name, _)| name);
    let number = |value: Decimal| py_decimal(py, value.normalize());
    let parts = (
        fill.number,
        fill.time,
        &pair.instrument().symbol,
        &fill.client_id,
        fill.order.0.to_string(),
        fill.trade_id,
        py_side(py, fill.side)?,
        number(pair.rules().price(fill.price))?,
        number(pair.rules().quantity(fill.quantity))?,
        number(market.money(asset, fill.fee))?,
        currency,
        fill.maker,
    );
    tuple!(py, "AccountFill", parts)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PySyntheticMarket>()
}
