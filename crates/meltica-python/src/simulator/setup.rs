//! The matching engine's options; every fault is told at once.

use super::input::{config_error, named, self_trade};
use super::market::Market;
use crate::convert::decimal;
use meltica_core::decimal::Decimal;
use meltica_core::instrument::{Instrument, InstrumentType, base_and_quote};
use meltica_core::venue::{AccountId, Engine, FeeAsset, Fees, Ledger, Rules};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

/// Digits after the point of a currency, where prices and quantities need no more.
const CURRENCY_SCALE: u8 = 8;

/// Options as Python gave them.
pub struct Options<'a, 'py> {
    pub symbol: &'a str,
    pub tick_size: Option<Bound<'py, PyAny>>,
    pub lot_size: Option<Bound<'py, PyAny>>,
    pub min_quantity: Option<Bound<'py, PyAny>>,
    pub max_quantity: Option<Bound<'py, PyAny>>,
    pub min_notional: Option<Bound<'py, PyAny>>,
    pub maker_fee: Option<Bound<'py, PyAny>>,
    pub taker_fee: Option<Bound<'py, PyAny>>,
    pub fee_in: &'a str,
    pub self_trade: &'a str,
    pub balances: Option<Bound<'py, PyMapping>>,
}

impl Options<'_, '_> {
    pub fn build(&self, py: Python<'_>) -> PyResult<Market> {
        let mut faults = Vec::new();
        let mut number = |name: &str, value: &Option<Bound<'_, PyAny>>| {
            let read = value.as_ref().map(decimal).transpose();
            read.unwrap_or_else(|error| {
                faults.push(format!("{name}: {}", error.value(py)));
                None
            })
        };
        let symbol = self.symbol.replace('/', "-");
        // A symbol that is none is a fault of its own.
        let (base, quote) = base_and_quote(&symbol).unwrap_or(("BASE", "QUOTE"));
        let instrument = Instrument {
            base: base.to_owned(),
            quote: quote.to_owned(),
            symbol: symbol.clone(),
            kind: InstrumentType::Spot,
            venue: "SIMULATOR".to_owned(),
            expiry: None,
            contract_value: None,
            contract_currency: None,
            strike: None,
            option_type: None,
            price_increment: number("tick_size", &self.tick_size),
            quantity_increment: number("lot_size", &self.lot_size),
            min_quantity: number("min_quantity", &self.min_quantity),
            max_quantity: number("max_quantity", &self.max_quantity),
            min_notional: number("min_notional", &self.min_notional),
            price_precision: None,
            quantity_precision: None,
            notional_precision: None,
        };
        let [maker, taker] = [("maker_fee", &self.maker_fee), ("taker_fee", &self.taker_fee)]
            .map(|(name, rate)| number(name, rate).unwrap_or(Decimal::ZERO));
        let fee_assets =
            [("quote", FeeAsset::Quote), ("base", FeeAsset::Base), ("received", FeeAsset::Received)];
        let asset = named("fee_in", self.fee_in, &fee_assets)
            .map_err(|error| faults.push(error.value(py).to_string()));
        let policy = self_trade(self.self_trade).map_err(|error| faults.push(error.value(py).to_string()));
        let fees = Fees::new(maker, taker, asset.unwrap_or_default())
            .map_err(|error| faults.push(error.to_string()));
        let rules = Rules::new(&instrument).map_err(|errors| {
            let named = |text: String| {
                text.replace("price_increment", "tick_size").replace("quantity_increment", "lot_size")
            };
            faults.extend(errors.0.iter().map(|error| named(error.to_string())));
        });
        let (Ok(policy), Ok(fees), Ok(rules)) = (policy, fees, rules) else {
            return Err(config_error(py, faults));
        };
        let scales = [
            rules.quantity_scale.max(CURRENCY_SCALE),
            (rules.price_scale + rules.quantity_scale).max(CURRENCY_SCALE),
        ];
        let mut ledger = Ledger::new(&scales);
        let assets: Vec<_> = ledger.assets().collect();
        let engine = Engine::new(rules, fees, policy, &ledger, [assets[0], assets[1]], 0)
            .map_err(|error| config_error(py, vec![error.to_string()]))?;
        let currencies = [instrument.base, instrument.quote];
        let mut accounts = Vec::new();
        for entry in self.balances.iter().flat_map(|balances| balances.items()).flatten() {
            let (name, amounts): (String, Bound<'_, PyMapping>) = entry.extract()?;
            let account = ledger.open(true);
            for amount in amounts.items()? {
                let (currency, value): (String, Bound<'_, PyAny>) = amount.extract()?;
                let path = format!("balances.{name}.{currency}");
                let Some(at) = currencies.iter().position(|other| *other == currency) else {
                    faults.push(format!("{path}: expected {} or {}", currencies[0], currencies[1]));
                    continue;
                };
                let units = decimal(&value).ok().and_then(|amount| amount.normalize().rescale(scales[at]));
                let units = units.map(Decimal::mantissa);
                let moved =
                    units.map(|units| ledger.transfer(AccountId::OUTSIDE, account, assets[at], units));
                if !matches!(moved, Some(Ok(()))) {
                    let places = scales[at];
                    faults.push(format!(
                        "{path}: expected an amount of zero or more with at most {places} digits after the point, seen {value}"
                    ));
                }
            }
            accounts.push((name, account));
        }
        if faults.is_empty() {
            Ok(Market::new(engine, ledger, currencies, accounts, self.balances.is_some()))
        } else {
            Err(config_error(py, faults))
        }
    }
}

/// A dictionary with an entry for each currency.
pub fn by_currency<'py>(
    py: Python<'py>,
    currencies: &[String; 2],
    values: [Bound<'py, PyAny>; 2],
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (currency, value) in currencies.iter().zip(values) {
        out.set_item(currency, value)?;
    }
    Ok(out)
}
