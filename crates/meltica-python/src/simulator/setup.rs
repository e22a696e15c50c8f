//! Converts the options of the matching engine and reports all faults at once.

use super::engine::Exchange;
use super::input::{config_error, named, self_trade};
use crate::convert::{canonical, decimal};
use meltica_core::decimal::Decimal;
use meltica_core::instrument::{Instrument, InstrumentType, base_and_quote};
use meltica_core::venue::{AccountId, AssetId, Engine, FeeAsset, Fees, InstrumentRules, Ledger, SelfTrade};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

/// Minimum number of digits after the point of a currency.
const CURRENCY_SCALE: u8 = 8;

/// The arguments of Python.
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

/// The validated options, apart from the balances.
struct Parts {
    currencies: [String; 2],
    rules: InstrumentRules,
    fees: Fees,
    self_trade: SelfTrade,
}

impl Options<'_, '_> {
    /// Returns an exchange with these options.
    pub fn build(&self, py: Python<'_>) -> PyResult<Exchange> {
        let mut faults = Vec::new();
        let Some(Parts { currencies, rules, fees, self_trade }) = self.parts(py, &mut faults) else {
            return Err(config_error(py, faults));
        };
        let scales = [
            rules.quantity_scale.max(CURRENCY_SCALE),
            (rules.price_scale + rules.quantity_scale).max(CURRENCY_SCALE),
        ];
        let mut ledger = Ledger::new(&scales);
        let assets: Vec<_> = ledger.assets().collect();
        let assets = [assets[0], assets[1]];
        let engine = Engine::new(rules, fees, self_trade, &ledger, assets, 0)
            .map_err(|error| config_error(py, vec![error.to_string()]))?;
        let accounts = self.open(&mut ledger, assets, &currencies, &mut faults)?;
        if faults.is_empty() {
            Ok(Exchange::new(engine, ledger, currencies, accounts, self.balances.is_some()))
        } else {
            Err(config_error(py, faults))
        }
    }

    /// Validates the options apart from the balances, and appends all faults.
    fn parts(&self, py: Python<'_>, faults: &mut Vec<String>) -> Option<Parts> {
        let instrument = self.instrument(py, faults);
        let [maker, taker] = [("maker_fee", &self.maker_fee), ("taker_fee", &self.taker_fee)]
            .map(|(name, rate)| number(py, name, rate.as_ref(), faults).unwrap_or(Decimal::ZERO));
        let fee_assets =
            [("quote", FeeAsset::Quote), ("base", FeeAsset::Base), ("received", FeeAsset::Received)];
        let asset = named("fee_in", self.fee_in, &fee_assets)
            .map_err(|error| faults.push(error.value(py).to_string()));
        let self_trade =
            self_trade(self.self_trade).map_err(|error| faults.push(error.value(py).to_string()));
        let fees = Fees::new(maker, taker, asset.unwrap_or_default())
            .map_err(|error| faults.push(error.to_string()));
        let rules = InstrumentRules::new(&instrument).map_err(|errors| {
            let argument = |text: String| {
                text.replace("price_increment", "tick_size").replace("quantity_increment", "lot_size")
            };
            faults.extend(errors.0.iter().map(|error| argument(error.to_string())));
        });
        let (Ok(self_trade), Ok(fees), Ok(rules)) = (self_trade, fees, rules) else { return None };
        Some(Parts { currencies: [instrument.base, instrument.quote], rules, fees, self_trade })
    }

    /// Returns the instrument that the options describe, and appends the faults of its numbers.
    fn instrument(&self, py: Python<'_>, faults: &mut Vec<String>) -> Instrument {
        let symbol = canonical(self.symbol).into_owned();
        // `InstrumentRules::new` reports an invalid symbol.
        let (base, quote) = base_and_quote(&symbol).unwrap_or(("BASE", "QUOTE"));
        let mut number =
            |name: &str, value: &Option<Bound<'_, PyAny>>| self::number(py, name, value.as_ref(), faults);
        Instrument {
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
            max_notional: None,
            price_precision: None,
            quantity_precision: None,
            notional_precision: None,
            halted: false,
        }
    }

    /// Opens the accounts with initial balances, and appends all faults.
    fn open(
        &self,
        ledger: &mut Ledger,
        assets: [AssetId; 2],
        currencies: &[String; 2],
        faults: &mut Vec<String>,
    ) -> PyResult<Vec<(String, AccountId)>> {
        let mut accounts = Vec::new();
        for entry in self.balances.iter().flat_map(|balances| balances.items()).flatten() {
            let (name, amounts): (String, Bound<'_, PyMapping>) = entry.extract()?;
            let account = ledger.open(true);
            for amount in amounts.items()? {
                let (currency, value): (String, Bound<'_, PyAny>) = amount.extract()?;
                let path = format!("balances.{name}.{currency}");
                let Some(index) = currencies.iter().position(|other| *other == currency) else {
                    faults.push(format!("{path}: expected {} or {}", currencies[0], currencies[1]));
                    continue;
                };
                let (asset, places) = (assets[index], ledger.scale(assets[index]));
                let units = decimal(&value).ok().and_then(|amount| amount.normalize().rescale(places));
                let units = units.map(Decimal::mantissa);
                let deposit = units.map(|units| ledger.transfer(AccountId::OUTSIDE, account, asset, units));
                if !matches!(deposit, Some(Ok(()))) {
                    faults.push(format!(
                        "{path}: expected an amount of zero or more with at most {places} digits after the point, saw {value}"
                    ));
                }
            }
            accounts.push((name, account));
        }
        Ok(accounts)
    }
}

/// Returns an optional number, or appends why it is invalid.
fn number(
    py: Python<'_>,
    name: &str,
    value: Option<&Bound<'_, PyAny>>,
    faults: &mut Vec<String>,
) -> Option<Decimal> {
    value.map(decimal).transpose().unwrap_or_else(|error| {
        faults.push(format!("{name}: {}", error.value(py)));
        None
    })
}

/// Returns a dictionary with an entry for each currency.
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
