//! Options as Python gives them: checked there for their form, here for their sense.

use super::run::{Out, State};
use crate::convert::{decimal, value_error};
use crate::payload::{Parsed, from_dict};
use crate::producer::PyProducer;
use crate::simulator::input::{config_error_of, self_trade};
use meltica_core::clock;
use meltica_core::event::{Kind, Nanos, Payload};
use meltica_core::venue::market::{
    Behavior, BookModel, Broadcast, Intervals, Listing, Live, Market, Options as Core, PriceModel, Reminders,
    TradeModel, Wire,
};
use meltica_core::venue::{FeeAsset, Fees};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use std::collections::BTreeMap;

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

/// All that can go wrong.
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

impl From<Faults> for Behavior {
    fn from(faults: Faults) -> Self {
        Self {
            latency_min: faults.latency_min,
            latency_max: faults.latency_max,
            transient_error: faults.transient_error,
            disconnect_chance: faults.disconnect_chance,
            disconnect_for: faults.disconnect_for,
            reject: faults.reject,
            report_late: faults.report_late,
            report_late_for: faults.report_late_for,
            report_duplicate: faults.report_duplicate,
            report_reorder: faults.report_reorder,
        }
    }
}

/// Returns `behavior` with some of it changed.
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
                    _ => return Err(value_error(format!("expected a fault of the venue, seen {key:?}"))),
                };
                *probability = value.extract()?;
                continue;
            }
        };
        *time = value.extract()?;
    }
    Ok(behavior)
}

/// What the accounts begin with: balances by currency, by name.
pub type Accounts<'py> = Vec<(String, BTreeMap<String, Bound<'py, PyAny>>)>;

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Listed<'py> {
    instrument: Bound<'py, PyAny>,
    price: Bound<'py, PyAny>,
    rate: f64,
}

impl Options<'_> {
    /// Returns a market that is told to the producer's readers, or without one in frames.
    pub fn build(
        self,
        py: Python<'_>,
        symbols: Vec<Listed<'_>>,
        accounts: Accounts<'_>,
        producer: Option<Py<PyProducer>>,
    ) -> PyResult<State> {
        let faulty = |faults: Vec<String>| config_error_of(py, "SyntheticMarket", faults);
        let fees = Fees::new(decimal(&self.maker_fee)?, decimal(&self.taker_fee)?, FeeAsset::Quote);
        let start = self.start.unwrap_or_else(clock::wall);
        let options = Core {
            seed: self.seed,
            start,
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
            fees: fees.map_err(|error| faulty(vec![error.to_string()]))?,
            self_trade: self_trade(&self.self_trade)?,
        };
        let mut listings = Vec::new();
        let mut rate = 0.0;
        for listed in &symbols {
            let payload = PyDict::new(py);
            payload.set_item("instrument", &listed.instrument)?;
            let parsed = from_dict(Kind::InstrumentUpdate, payload.as_any())?;
            let Parsed::Payload(Payload::Instrument(instrument)) = parsed else {
                return Err(faulty(vec!["symbols: expected instruments".into()]));
            };
            rate += listed.rate;
            listings.push(Listing {
                instrument: *instrument,
                price: decimal(&listed.price)?,
                rate: listed.rate,
            });
        }
        let mut market = Market::new(&options, &listings).map_err(|faults| faulty(faults.0))?;
        let behavior = Behavior::from(self.behavior);
        let mut faults = behavior.check().map_or_else(|errors| errors.0, |()| Vec::new());
        let mut opened = Vec::new();
        for (name, balances) in accounts {
            let account = market.open_account();
            for (currency, amount) in &balances {
                let asset =
                    market.assets().iter().find(|(name, _)| name == currency).map(|(_, asset)| *asset);
                let amount = decimal(amount)?;
                let given = asset.map(|asset| market.deposit(account, asset, amount));
                if given.is_none() {
                    faults.push(format!("balances.{currency}: expected a currency of the symbols"));
                } else if given != Some(Ok(())) {
                    faults.push(format!(
                        "balances.{currency}: expected an amount of zero or more that fits, seen {amount}"
                    ));
                }
            }
            opened.push((name, account));
        }
        if opened.is_empty() {
            faults.push("accounts: expected at least one".into());
        }
        if !faults.is_empty() {
            return Err(faulty(faults));
        }
        let intervals =
            Intervals { ticker: self.ticker_interval, book_snapshot: self.book_snapshot_interval };
        let out = if let Some(producer) = producer {
            let broadcast = Broadcast::new(&market, opened[0].1, intervals, &self.kline_name);
            Out::Readers(broadcast.map_err(value_error)?.with_faults(self.seed, behavior), producer)
        } else {
            let json = py.import("json")?;
            let rules =
                symbols.iter().map(|listed| json.call_method1("dumps", (&listed.instrument,))?.extract());
            let rules = rules.collect::<PyResult<Vec<String>>>()?;
            let ids = opened.iter().map(|(_, account)| *account).collect();
            let wire = Wire::new(&market, ids, rules, intervals, &self.kline_name, self.seed, behavior);
            let names: Vec<String> = opened.iter().map(|(name, _)| name.clone()).collect();
            let channels = wire.channels(&names);
            Out::Frames(wire, channels.iter().map(|name| PyString::new(py, name).unbind()).collect())
        };
        let reminders = Reminders {
            instruments: self.instrument_refresh_interval,
            balances: self.balance_update_interval,
        };
        let live = Live::new(market, self.seed, behavior, reminders);
        Ok(State { live, out, accounts: opened, rate, pace: None })
    }
}
