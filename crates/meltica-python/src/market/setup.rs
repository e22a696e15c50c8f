//! Converts the options of a synthetic market. Python has validated their types; the core validates their values.

use super::run::{Output, State};
use crate::convert::{decimal, value_error};
use crate::payload::{Parsed, from_dict};
use crate::producer::PyProducer;
use crate::simulator::input::{config_error_of, self_trade};
use meltica_core::clock;
use meltica_core::event::{Kind, Nanos, Payload};
use meltica_core::venue::market::{
    Behavior, BookModel, Broadcast, Intervals, Listing, Market, Options as Core, PriceModel,
    RefreshIntervals, SimulatedVenue, TradeModel, Wire,
};
use meltica_core::venue::{AccountId, FeeAsset, Fees};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::collections::BTreeMap;

/// The options of a synthetic market.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Options<'py> {
    seed: u64,
    start: Option<Nanos>,
    drift: f64,
    volatility: f64,
    shock_probability: f64,
    shock_magnitude: f64,
    min_quantity: Bound<'py, PyAny>,
    max_quantity: Bound<'py, PyAny>,
    levels: u32,
    max_mutation_width: u32,
    ticker_interval: Nanos,
    book_snapshot_interval: Nanos,
    balance_update_interval: Nanos,
    instrument_refresh_interval: Nanos,
    kline_interval: Nanos,
    kline_name: String,
    maker_fee: Bound<'py, PyAny>,
    taker_fee: Bound<'py, PyAny>,
    self_trade: String,
    behavior: Faults,
}

/// The simulated faults.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Faults {
    latency_min: Nanos,
    latency_max: Nanos,
    transient_error: f64,
    disconnect_chance: f64,
    disconnect_for: Nanos,
    reject: f64,
    report_late: f64,
    report_late_for: Nanos,
    report_duplicate: f64,
    report_reorder: f64,
}

impl Faults {
    /// Converts the simulated faults.
    fn core(&self) -> Behavior {
        Behavior {
            latency_min: self.latency_min,
            latency_max: self.latency_max,
            transient_error: self.transient_error,
            disconnect_chance: self.disconnect_chance,
            disconnect_for: self.disconnect_for,
            reject: self.reject,
            report_late: self.report_late,
            report_late_for: self.report_late_for,
            report_duplicate: self.report_duplicate,
            report_reorder: self.report_reorder,
        }
    }
}

/// Returns `behavior` with some values changed.
pub fn changed(behavior: Behavior, changes: &Bound<'_, PyDict>) -> PyResult<Behavior> {
    let mut behavior = behavior;
    for (key, value) in changes {
        let key: String = key.extract()?;
        let time = match key.as_str() {
            "latency_min" => &mut behavior.latency_min,
            "latency_max" => &mut behavior.latency_max,
            "disconnect_for" => &mut behavior.disconnect_for,
            "report_late_for" => &mut behavior.report_late_for,
            _ => {
                let probability = match key.as_str() {
                    "transient_error" => &mut behavior.transient_error,
                    "disconnect_chance" => &mut behavior.disconnect_chance,
                    "reject" => &mut behavior.reject,
                    "report_late" => &mut behavior.report_late,
                    "report_duplicate" => &mut behavior.report_duplicate,
                    "report_reorder" => &mut behavior.report_reorder,
                    _ => {
                        return Err(value_error(format!(
                            "expected the name of a simulated fault, saw {key:?}"
                        )));
                    }
                };
                *probability = value.extract()?;
                continue;
            }
        };
        *time = value.extract()?;
    }
    Ok(behavior)
}

/// The initial balances by currency, by account name.
pub type Accounts<'py> = Vec<(String, BTreeMap<String, Bound<'py, PyAny>>)>;

/// A listed instrument with its initial price and its rate.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Listed<'py> {
    instrument: Bound<'py, PyAny>,
    price: Bound<'py, PyAny>,
    rate: f64,
}

impl Listed<'_> {
    /// Converts the instrument with its initial price and its rate.
    fn listing(&self, py: Python<'_>) -> PyResult<Listing> {
        let payload = PyDict::new(py);
        payload.set_item("instrument", &self.instrument)?;
        let parsed = from_dict(Kind::InstrumentUpdate, payload.as_any())?;
        let Parsed::Payload(Payload::Instrument(instrument)) = parsed else {
            return Err(config_error(py, vec!["symbols: expected instruments".into()]));
        };
        Ok(Listing { instrument: *instrument, price: decimal(&self.price)?, rate: self.rate })
    }
}

/// Makes a `ConfigError` that lists all faults.
fn config_error(py: Python<'_>, faults: Vec<String>) -> PyErr {
    config_error_of(py, "SyntheticMarket", faults)
}

impl Options<'_> {
    /// Returns a market whose events go to the readers of `producer`, or become frames without one.
    pub fn build(
        self,
        py: Python<'_>,
        symbols: Vec<Listed<'_>>,
        accounts: Accounts<'_>,
        producer: Option<Py<PyProducer>>,
    ) -> PyResult<State> {
        let listings = symbols.iter().map(|symbol| symbol.listing(py)).collect::<PyResult<Vec<_>>>()?;
        let options = self.core(py)?;
        let mut market = Market::new(&options, &listings).map_err(|faults| config_error(py, faults.0))?;
        let behavior = self.behavior.core();
        let mut faults = behavior.check().map_or_else(|errors| errors.0, |()| Vec::new());
        let accounts = open(&mut market, accounts, &mut faults)?;
        if !faults.is_empty() {
            return Err(config_error(py, faults));
        }
        let output = self.output(py, &market, &symbols, &accounts, producer)?;
        let refresh = RefreshIntervals {
            instruments: self.instrument_refresh_interval,
            balances: self.balance_update_interval,
        };
        let venue = SimulatedVenue::new(market, self.seed, behavior, refresh);
        let rate = symbols.iter().map(|symbol| symbol.rate).sum();
        Ok(State { venue, output, accounts, rate, clock: None })
    }

    /// Converts the market's options.
    fn core(&self, py: Python<'_>) -> PyResult<Core> {
        let fees = Fees::new(decimal(&self.maker_fee)?, decimal(&self.taker_fee)?, FeeAsset::Quote);
        Ok(Core {
            seed: self.seed,
            start: self.start.unwrap_or_else(clock::wall),
            price_model: PriceModel {
                drift: self.drift,
                volatility: self.volatility,
                shock_probability: self.shock_probability,
                shock_magnitude: self.shock_magnitude,
            },
            trade_model: TradeModel {
                min_quantity: decimal(&self.min_quantity)?,
                max_quantity: decimal(&self.max_quantity)?,
            },
            order_book: BookModel { levels: self.levels, max_mutation_width: self.max_mutation_width },
            kline_interval: self.kline_interval,
            fees: fees.map_err(|error| config_error(py, vec![error.to_string()]))?,
            self_trade: self_trade(&self.self_trade)?,
        })
    }

    /// Returns the output of a market's events.
    fn output(
        &self,
        py: Python<'_>,
        market: &Market,
        symbols: &[Listed<'_>],
        accounts: &[(String, AccountId)],
        producer: Option<Py<PyProducer>>,
    ) -> PyResult<Output> {
        let (seed, behavior) = (self.seed, self.behavior.core());
        let intervals =
            Intervals { ticker: self.ticker_interval, book_snapshot: self.book_snapshot_interval };
        if let Some(producer) = producer {
            let broadcast = Broadcast::new(market, accounts[0].1, intervals, &self.kline_name);
            return Ok(Output::Readers(broadcast.with_faults(seed, behavior), producer));
        }
        let json = py.import("json")?;
        let instruments =
            symbols.iter().map(|symbol| json.call_method1("dumps", (&symbol.instrument,))?.extract());
        let instruments = instruments.collect::<PyResult<Vec<String>>>()?;
        let (names, ids): (Vec<_>, Vec<_>) = accounts.iter().cloned().unzip();
        let wire = Wire::new(market, ids, instruments, intervals, &self.kline_name, seed, behavior);
        let channels = wire.channels(&names);
        let channels = channels.iter().map(|name| PyString::new(py, name).unbind()).collect();
        Ok(Output::Frames(wire, channels))
    }
}

/// Opens the accounts with their initial balances, and appends all faults.
fn open(
    market: &mut Market,
    accounts: Accounts<'_>,
    faults: &mut Vec<String>,
) -> PyResult<Vec<(String, AccountId)>> {
    let mut opened = Vec::new();
    for (name, balances) in accounts {
        let account = market.open_account();
        for (currency, amount) in &balances {
            let asset = market.assets().iter().find(|(name, _)| name == currency).map(|(_, asset)| *asset);
            let amount = decimal(amount)?;
            let deposit = asset.map(|asset| market.deposit(account, asset, amount));
            if deposit.is_none() {
                faults.push(format!("balances.{currency}: expected a currency of the symbols"));
            } else if deposit != Some(Ok(())) {
                faults.push(format!(
                    "balances.{currency}: expected an amount of zero or more that fits, saw {amount}"
                ));
            }
        }
        opened.push((name, account));
    }
    if opened.is_empty() {
        faults.push("accounts: expected at least one".into());
    }
    Ok(opened)
}
