//! Options as Python gives them: checked there for their form, here for their sense.

use super::run::State;
use crate::convert::decimal;
use crate::payload::{Parsed, from_dict};
use crate::simulator::input::{config_error_of, self_trade};
use meltica_core::clock;
use meltica_core::event::{Kind, Nanos, Payload};
use meltica_core::venue::market::{
    BookModel, Broadcast, Intervals, Listing, Market, Options as Core, PriceModel, TradeModel,
};
use meltica_core::venue::{FeeAsset, Fees};
use pyo3::prelude::*;
use pyo3::types::PyDict;
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
    kline_interval: Nanos,
    kline_name: String,
    maker_fee: Bound<'py, PyAny>,
    taker_fee: Bound<'py, PyAny>,
    self_trade: String,
    balances: BTreeMap<String, Bound<'py, PyAny>>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Listed<'py> {
    instrument: Bound<'py, PyAny>,
    price: Bound<'py, PyAny>,
    rate: f64,
}

impl Options<'_> {
    pub fn build(self, py: Python<'_>, symbols: Vec<Listed<'_>>) -> PyResult<State> {
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
        let account = market.open_account();
        let mut faults = Vec::new();
        for (currency, amount) in &self.balances {
            let asset = market.assets().iter().find(|(name, _)| name == currency).map(|(_, asset)| *asset);
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
        if !faults.is_empty() {
            return Err(faulty(faults));
        }
        let intervals =
            Intervals { ticker: self.ticker_interval, book_snapshot: self.book_snapshot_interval };
        let broadcast = Broadcast::new(&market, account, intervals, &self.kline_name);
        Ok(State {
            broadcast: broadcast.map_err(crate::convert::value_error)?,
            market,
            account,
            balance_interval: self.balance_update_interval,
            next_balances: start.saturating_add(self.balance_update_interval),
            rate,
            pace: None,
        })
    }
}
