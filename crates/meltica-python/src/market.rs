//! The Python class of the synthetic market. Accounts trade on it; its events go to a producer or become frames.

mod lookup;
mod operator;
mod records;
mod run;
mod setup;

use crate::convert::value_error;
use crate::producer::PyProducer;
use crate::simulator::input::{Measure, kind, refused, side};
use lookup::{account, framed, pair, raise, rules};
use meltica_core::event::{Nanos, Side};
use meltica_core::venue::AccountId;
use meltica_core::venue::market::{
    Budget, Change, Failure, LateRequest, Outlet, Refusal, Request, SimulatedVenue, Wire,
};
pub use operator::PyVenueOperator;
use operator::request_kind;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use records::{balances, order_dict};
use run::{Clock, Guard, Locked, Output};
use setup::Options;
use std::sync::Arc;

/// A market with background traders on a virtual clock, and accounts that trade on it.
///
/// Background traders and accounts share the book of each symbol. With a `producer`, market data and the reports of the
/// first account are published there. Without one they become frames, as described in `docs/venue.md`, which `poll`
/// returns. Equal options and equal calls at equal virtual times give equal events and equal faults.
///
/// `options` and `symbols` come from `meltica.simulator.settings`; `accounts` has the balances by currency, by the
/// account's name. Methods without an `account` use the first one.
///
/// Raises `ConfigError`, which lists every fault.
#[pyclass(module = "meltica._core", name = "SyntheticMarket", frozen, immutable_type)]
pub struct PySyntheticMarket {
    state: Arc<Locked>,
}

impl PySyntheticMarket {
    /// Locks the state; a waiting thread detaches from the interpreter.
    fn state(&self, py: Python<'_>) -> Guard<'_> {
        self.state.lock_attached(py)
    }

    /// Executes a request at the current virtual time.
    fn act<R: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut SimulatedVenue, &mut dyn Outlet) -> R + Send,
    ) -> R {
        py.detach(|| self.state.lock().execute(act))
    }

    /// Carries out a request of an account after a delay.
    fn later(&self, py: Python<'_>, delay: Nanos, account: AccountId, change: Change) {
        self.act(py, |venue, _| venue.later(delay, LateRequest { account, change }));
    }
}

#[pymethods]
impl PySyntheticMarket {
    #[new]
    fn new(
        py: Python<'_>,
        producer: Option<Py<PyProducer>>,
        options: Options<'_>,
        symbols: Vec<setup::Listed<'_>>,
        accounts: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let accounts = accounts.iter().map(|(name, balances)| Ok((name.extract()?, balances.extract()?)));
        let state = options.build(py, symbols, accounts.collect::<PyResult<_>>()?, producer)?;
        Ok(Self { state: Arc::new(Locked::new(state)) })
    }

    /// The part of the background's actions that take, at least.
    #[classattr]
    const TAKERS: f64 = meltica_core::venue::market::TAKER_SHARE;

    /// Publishes every instrument and every balance.
    fn announce(&self, py: Python<'_>) {
        self.act(py, |venue, outlet| {
            outlet.instruments(venue.market());
            outlet.balances(venue.market());
        });
        py.detach(|| while !self.state.lock().publish() {});
    }

    /// Runs until the virtual time `until` or `Producer.stop`.
    ///
    /// `speed` is relative to the wall clock, above 0 and at most 1e6; None runs as fast as possible.
    ///
    /// Raises `ValueError` for another speed, or for a market without a producer.
    #[pyo3(signature = (*, speed = None, until = None))]
    fn run(&self, py: Python<'_>, speed: Option<f64>, until: Option<Nanos>) -> PyResult<()> {
        if speed.is_some_and(|speed| !(speed > 0.0 && speed <= 1e6)) {
            return Err(value_error("expected a speed above 0 to 1e6, or None for as fast as possible"));
        }
        let until = until.unwrap_or(Nanos::MAX);
        let producer = match &self.state(py).output {
            Output::Readers(_, producer) => producer.clone_ref(py),
            Output::Frames(..) => {
                return Err(value_error("expected a market with a producer, saw one without; use `poll`"));
            }
        };
        py.detach(|| run::run(&self.state, producer.get(), speed, until))
    }

    /// Advances the virtual clock to `until`, in ns. An earlier time changes nothing.
    fn advance(&self, py: Python<'_>, until: Nanos) {
        py.detach(|| {
            // The producer reports whether the wait for a reader was stopped.
            let _stopped = self.state.lock().advance(until, None, Budget::unlimited());
        });
    }

    /// The virtual time, in ns.
    #[getter]
    fn now(&self) -> Nanos {
        self.state.now()
    }

    /// Submits an order at the current virtual time and returns the venue's id of it.
    ///
    /// The reports on the order are published as well. Numbers are as for `MatchingEngine.submit`. An order with an
    /// empty id is one of another client of the account. With a `delay` (virtual ns), the market carries the request out
    /// that much later, and None is returned. Raises `OrderRefused`; the order then changes nothing.
    #[pyo3(signature = (client_order_id, symbol, side, quantity, price = None, time_in_force = "GTC", post_only = false, *,
                        account = None, delay = None))]
    #[allow(clippy::too_many_arguments)]
    fn submit(
        &self,
        py: Python<'_>,
        client_order_id: &str,
        symbol: &str,
        side: &str,
        quantity: &Bound<'_, PyAny>,
        price: Option<&Bound<'_, PyAny>>,
        time_in_force: &str,
        post_only: bool,
        account: Option<&str>,
        delay: Option<Nanos>,
    ) -> PyResult<Option<String>> {
        let side = self::side(side)?;
        let (pair, account, rules) = {
            let state = self.state(py);
            let pair = pair(&state, symbol)?;
            (pair, self::account(&state, account)?, rules(&state, pair))
        };
        let quantity = Measure::quantity(&rules).read(quantity, false)?;
        let price = price.map(|price| Measure::price(&rules).read(price, side == Side::Sell)).transpose()?;
        let kind = kind(side, price, time_in_force, post_only)?.ok_or_else(|| {
            let text = format!(
                "order {client_order_id}: expected a post-only order with a price and the time_in_force GTC"
            );
            refused(py, "invalid_order", text)
        })?;
        let request = Request { client_order_id: client_order_id.to_owned(), side, quantity, kind };
        if let Some(delay) = delay {
            self.later(py, delay, account, Change::Submit(pair, request));
            return Ok(None);
        }
        let result = self.act(py, |venue, outlet| venue.submit(account, pair, &request, outlet));
        result.map(|order| Some(order.0.to_string())).map_err(|refusal| raise(py, &refusal))
    }

    /// Cancels an open order, after a `delay` (virtual ns) if given. Raises `OrderRefused` if the order is not open.
    #[pyo3(signature = (client_order_id, *, account = None, delay = None))]
    fn cancel(
        &self,
        py: Python<'_>,
        client_order_id: &str,
        account: Option<&str>,
        delay: Option<Nanos>,
    ) -> PyResult<()> {
        let account = self::account(&self.state(py), account)?;
        if let Some(delay) = delay {
            self.later(py, delay, account, Change::Cancel(client_order_id.to_owned()));
            return Ok(());
        }
        let result = self.act(py, |venue, outlet| venue.cancel(account, client_order_id, outlet));
        result.map_err(|refusal| raise(py, &refusal))
    }

    /// Cancels all open orders, or those of a symbol; returns their client order ids, oldest first.
    #[pyo3(signature = (symbol = None, *, account = None))]
    fn cancel_all(
        &self,
        py: Python<'_>,
        symbol: Option<&str>,
        account: Option<&str>,
    ) -> PyResult<Vec<String>> {
        let (account, pair) = {
            let state = self.state(py);
            let pair = symbol.map(|symbol| pair(&state, symbol)).transpose()?;
            (self::account(&state, account)?, pair)
        };
        Ok(self.act(py, |venue, outlet| venue.market_mut().cancel_all(account, pair, outlet)))
    }

    /// Changes an open order, as `MatchingEngine.amend`, after a `delay` (virtual ns) if given.
    ///
    /// Raises `OrderRefused`; the order is then unchanged.
    #[pyo3(signature = (client_order_id, quantity = None, price = None, *, account = None, delay = None))]
    fn amend(
        &self,
        py: Python<'_>,
        client_order_id: &str,
        quantity: Option<&Bound<'_, PyAny>>,
        price: Option<&Bound<'_, PyAny>>,
        account: Option<&str>,
        delay: Option<Nanos>,
    ) -> PyResult<()> {
        let (account, order) = {
            let state = self.state(py);
            let account = self::account(&state, account)?;
            let order = state.venue.market().order(account, client_order_id);
            (account, order.map(|order| (order.side, rules(&state, order.pair))))
        };
        let Some((side, rules)) = order else {
            return Err(raise(py, &Refusal::UnknownOrder(client_order_id.to_owned())));
        };
        let quantity =
            quantity.map(|quantity| Measure::quantity(&rules).read(quantity, false)).transpose()?;
        let price = price.map(|price| Measure::price(&rules).read(price, side == Side::Sell)).transpose()?;
        if let Some(delay) = delay {
            self.later(py, delay, account, Change::Amend(client_order_id.to_owned(), price, quantity));
            return Ok(());
        }
        let result =
            self.act(py, |venue, outlet| venue.amend(account, client_order_id, price, quantity, outlet));
        result.map_err(|refusal| raise(py, &refusal))
    }

    /// Returns the latest report on an order with its `symbol` and `time` (virtual ns); None if it is unknown.
    ///
    /// The venue keeps open orders and the last 100,000 closed ones.
    #[pyo3(signature = (client_order_id, *, account = None))]
    fn order<'py>(
        &self,
        py: Python<'py>,
        client_order_id: &str,
        account: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let state = self.state(py);
        let account = self::account(&state, account)?;
        let market = state.venue.market();
        market.order(account, client_order_id).map(|order| order_dict(py, market, order)).transpose()
    }

    /// Returns the open orders, oldest first, in the form of `order`.
    #[pyo3(signature = (*, account = None))]
    fn open_orders<'py>(&self, py: Python<'py>, account: Option<&str>) -> PyResult<Bound<'py, PyList>> {
        let state = self.state(py);
        let account = self::account(&state, account)?;
        let market = state.venue.market();
        let orders = PyList::empty(py);
        for order in market.open_orders(account) {
            orders.append(order_dict(py, market, order)?)?;
        }
        Ok(orders)
    }

    /// Returns the fills numbered above `number` and not before `time` (virtual ns), at most the first `limit`.
    ///
    /// The venue keeps the last 1,048,576 fills.
    #[pyo3(signature = (number = 0, *, time = 0, limit = None, account = None))]
    fn fills_since<'py>(
        &self,
        py: Python<'py>,
        number: u64,
        time: Nanos,
        limit: Option<usize>,
        account: Option<&str>,
    ) -> PyResult<Bound<'py, PyList>> {
        let account = self::account(&self.state(py), account)?;
        let (mut after, limit) = (number, limit.unwrap_or(usize::MAX));
        let fills = PyList::empty(py);
        loop {
            let left = limit - fills.len();
            let (records, is_all) = py.detach(|| self.state.lock().fills(account, &mut after, time, left));
            for record in records {
                fills.append(record.into_py(py)?)?;
            }
            if is_all {
                return Ok(fills);
            }
        }
    }

    /// Returns the account's balances, by currency.
    #[pyo3(signature = (*, account = None))]
    fn balances<'py>(&self, py: Python<'py>, account: Option<&str>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.state(py);
        balances(py, state.venue.market(), self::account(&state, account)?)
    }

    /// Returns all balances of the market: the totals of each currency add up to zero.
    ///
    /// - `time`: the virtual time, in ns
    /// - `accounts`: name -> currency -> Balance
    /// - `outside`: currency -> total of the background traders
    /// - `fees`: currency -> total of the fees
    /// - `fills`: the number of fills so far
    fn ledger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let state = self.state(py);
        records::ledger(py, state.venue.market(), &state.accounts)
    }

    /// Draws the latency of one request (virtual ns) and its failure.
    ///
    /// The failure is `before` or `after` execution, `never` executed with the answer lost, the delay (virtual ns) after
    /// which it is to be executed with the answer lost, or None. `kind` is `submit`, `cancel` or `amend`, or None for a
    /// query.
    #[pyo3(signature = (kind = None))]
    fn request_fate<'py>(
        &self,
        py: Python<'py>,
        kind: Option<&str>,
    ) -> PyResult<(Nanos, Option<Bound<'py, PyAny>>)> {
        let (latency, failure) = self.state(py).venue.request_fate(kind.map(request_kind).transpose()?);
        let text = |name: &str| PyString::new(py, name).into_any();
        let failure = match failure {
            None => None,
            Some(Failure::Before) => Some(text("before")),
            Some(Failure::After) => Some(text("after")),
            Some(Failure::Never) => Some(text("never")),
            Some(Failure::Later(delay)) => Some(delay.into_pyobject(py)?.into_any()),
        };
        Ok((latency, failure))
    }

    /// The operator of the venue: deposits, fees, and simulated faults on demand.
    #[getter]
    fn operator(&self) -> PyVenueOperator {
        PyVenueOperator::new(Arc::clone(&self.state))
    }

    /// Whether clients are connected.
    #[getter]
    fn connected(&self) -> bool {
        self.state.is_connected()
    }

    /// How many times all connections were cut. Compare it to notice a cut that is already over.
    #[getter]
    fn cuts(&self) -> u64 {
        self.state.cuts()
    }

    /// Lets the virtual clock run at `speed` times the wall clock from now on.
    ///
    /// Raises `ValueError` for a market with a producer, or unless 0 < speed <= 1e6.
    fn pace(&self, py: Python<'_>, speed: f64) -> PyResult<()> {
        if !(speed > 0.0 && speed <= 1e6) {
            return Err(value_error("expected a speed above 0 to 1e6"));
        }
        let mut state = self.state(py);
        framed(&mut state)?;
        state.clock = Some(Clock::new(state.venue.market().now(), speed));
        Ok(())
    }

    /// Advances to the current time and returns the new frames in order, as (channel, frame).
    ///
    /// Raises `ValueError` for a market with a producer.
    fn poll<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let mut state = self.state(py);
        state.catch_up();
        let (_, wire, names) = framed(&mut state)?;
        let frames = PyList::empty(py);
        for (channel, frame) in wire.take() {
            frames.append((names[channel].bind(py), frame))?;
        }
        Ok(frames)
    }

    /// Returns for how many seconds of the wall clock nothing is due, at most 0.05.
    ///
    /// Raises `ValueError` before `pace`.
    fn wake_in(&self, py: Python<'_>) -> PyResult<f64> {
        let state = self.state(py);
        let Some(clock) = state.clock else {
            return Err(value_error("expected a market with a pace; call `pace` first"));
        };
        Ok(state.nap(&clock, Nanos::MAX).as_secs_f64())
    }

    /// Returns how many seconds of the wall clock the market is behind its pace, 0.0 without `pace`.
    ///
    /// More than a few milliseconds mean that the machine is too slow for the pace.
    fn lag(&self, py: Python<'_>) -> f64 {
        self.state(py).lag().as_secs_f64()
    }

    /// Starts or stops making the frames of a channel.
    ///
    /// Channels are `trade:BTC-USDT`, `ticker:..`, `depth:..`, `candle:..`, `instruments` and `account:NAME`. Raises
    /// `ValueError` for an unknown channel, or for a market with a producer.
    fn want(&self, py: Python<'_>, channel: &str, wanted: bool) -> PyResult<()> {
        let mut state = self.state(py);
        let (venue, wire, names) = framed(&mut state)?;
        for (number, name) in names.iter().enumerate() {
            if name.bind(py).to_str()? == channel {
                wire.want(venue.market(), number, wanted);
                return Ok(());
            }
        }
        Err(value_error(format!("channel: expected one of the market, saw {channel:?}")))
    }

    /// Returns a frame with the best `limit` levels of each side, or the whole book.
    #[pyo3(signature = (symbol, limit = None))]
    fn depth<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        limit: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut state = self.state(py);
        state.catch_up();
        let market = state.venue.market();
        let pair = &market.pairs()[pair(&state, symbol)?];
        let frame = Wire::depth_snapshot(market, pair, limit.unwrap_or(usize::MAX));
        Ok(PyBytes::new(py, frame.as_bytes()))
    }

    /// Returns the best `depth` levels of each side, or the whole book.
    ///
    /// Raises `ValueError` for an unknown symbol.
    #[pyo3(signature = (symbol, depth = None))]
    fn book<'py>(&self, py: Python<'py>, symbol: &str, depth: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let state = self.state(py);
        let pair = &state.venue.market().pairs()[pair(&state, symbol)?];
        records::order_book(py, pair, depth.unwrap_or(usize::MAX))
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PySyntheticMarket>()?;
    module.add_class::<PyVenueOperator>()
}
