//! From dictionaries to payloads.

use super::{Parsed, extension};
use crate::convert::{decimal, json_dumps, parse_rfc3339, value_error};
use meltica_core::decimal::Decimal;
use meltica_core::event::{
    BalanceUpdate, Book, BookGap, ExecReport, Kind, Kline, Liquidity, OrderState, Payload, PriceLevel,
    RiskControl, ShortText, Side, StaleReason, Ticker, TimeInForce, Trade, Transfer, TransferReason, VenueId,
};
use meltica_core::instrument::{Instrument, InstrumentType, OptionType};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::PyMapping;

/// Reads keys; errors name the key.
struct Fields<'a, 'py>(&'a Bound<'py, PyMapping>);

impl<'py> Fields<'_, 'py> {
    fn opt(&self, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.0.get_item(key) {
            Ok(value) if value.is_none() => Ok(None),
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_instance_of::<PyKeyError>(self.0.py()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn get(&self, key: &str) -> PyResult<Bound<'py, PyAny>> {
        self.opt(key)?
            .ok_or_else(|| value_error(format!("payload: expected the key {key:?}, but it is absent")))
    }

    fn text(&self, key: &str) -> PyResult<String> {
        self.get(key)?.extract().map_err(|_| value_error(format!("payload: expected {key:?} to be text")))
    }

    fn opt_text(&self, key: &str) -> PyResult<Option<String>> {
        self.opt(key)?.map(|_| self.text(key)).transpose()
    }

    fn number(&self, key: &str) -> PyResult<Decimal> {
        decimal(&self.get(key)?).map_err(|error| value_error(format!("payload: {key}: {error}")))
    }

    fn opt_number(&self, key: &str) -> PyResult<Option<Decimal>> {
        self.opt(key)?.map(|_| self.number(key)).transpose()
    }

    fn value<T: for<'a> FromPyObject<'a, 'py>>(&self, key: &str, expected: &str) -> PyResult<T> {
        let value = self.get(key)?;
        value.extract().map_err(|_| value_error(format!("payload: expected {key:?} to be {expected}")))
    }

    fn opt_value<T: for<'a> FromPyObject<'a, 'py>>(&self, key: &str, expected: &str) -> PyResult<Option<T>> {
        self.opt(key)?.map(|_| self.value(key, expected)).transpose()
    }

    fn named<T>(&self, key: &str, find: impl Fn(&str) -> Option<T>, expected: &str) -> PyResult<T> {
        let text = self.text(key)?;
        find(&text)
            .ok_or_else(|| value_error(format!("payload: expected {key:?} to be {expected}, saw {text:?}")))
    }

    fn opt_named<T>(
        &self,
        key: &str,
        find: impl Fn(&str) -> Option<T>,
        expected: &str,
    ) -> PyResult<Option<T>> {
        self.opt(key)?.map(|_| self.named(key, find, expected)).transpose()
    }

    fn side(&self) -> PyResult<Side> {
        self.named("side", Side::from_name, "Buy or Sell")
    }
}

/// Reads the payload of an event of `kind`.
pub fn from_dict(kind: Kind, data: &Bound<'_, PyAny>) -> PyResult<Parsed> {
    let mapping = data
        .cast::<PyMapping>()
        .map_err(|_| PyTypeError::new_err("payload: expected a mapping of keys to values"))?;
    let f = Fields(mapping);
    Ok(Parsed::Payload(match kind {
        Kind::BookSnapshot => return book_from_dict(&f).map(Parsed::Book),
        Kind::Trade => Payload::Trade(Trade {
            id: f.opt("tradeId")?.map(|id| venue_id(&id.str()?.to_string())).transpose()?,
            side: f.opt_named("side", Side::from_name, "Buy or Sell")?,
            price: f.number("price")?,
            quantity: f.number("quantity")?,
            late: f.opt_value("late", "a bool")?.unwrap_or_default(),
        }),
        Kind::Ticker => Payload::Ticker(Ticker {
            last: f.opt_number("lastPrice")?,
            bid: f.opt_number("bidPrice")?,
            bid_quantity: f.opt_number("bidQuantity")?,
            ask: f.opt_number("askPrice")?,
            ask_quantity: f.opt_number("askQuantity")?,
            volume_24h: f.opt_number("volume24h")?,
        }),
        Kind::KlineSummary => Payload::Kline(Kline {
            open: f.number("openPrice")?,
            close: f.number("closePrice")?,
            high: f.number("highPrice")?,
            low: f.number("lowPrice")?,
            volume: f.number("volume")?,
            open_time: parse_rfc3339(&f.text("openTime")?)?,
            close_time: parse_rfc3339(&f.text("closeTime")?)?,
            interval: f.opt_text("interval")?.and_then(|t| ShortText::new(&t)),
            closed: f.opt_value("closed", "a bool")?,
        }),
        Kind::ExecReport => Payload::Exec(Box::new(exec_report(&f)?)),
        Kind::InstrumentUpdate => {
            let inner = f.get("instrument")?;
            let inner =
                inner.cast::<PyMapping>().map_err(|_| value_error("payload: expected an instrument"))?;
            Payload::Instrument(Box::new(instrument_from_dict(&Fields(inner))?))
        }
        Kind::BalanceUpdate => Payload::Balance(BalanceUpdate {
            total: f.number("total")?,
            available: f.number("available")?,
            transfer: transfer(&f)?.map(Box::new),
        }),
        Kind::RiskControl => Payload::Risk(Box::new(risk_control(&f)?)),
        Kind::Extension => {
            // The data of an extension may be None.
            let json = f.opt("data")?.map_or_else(|| Ok("null".to_owned()), |data| json_dumps(&data))?;
            Payload::Extension(Box::new(extension(&f.text("name")?, &json, 0)?))
        }
        Kind::BookGap => Payload::BookGap(BookGap {
            expected: f.value("expected", "a whole number")?,
            received: f.value("seen", "a whole number")?,
        }),
        Kind::MarketStale => Payload::MarketStale(f.named(
            "reason",
            |name| StaleReason::ALL.into_iter().find(|reason| reason.name() == name),
            "a reason for staleness",
        )?),
    }))
}

fn exec_report(f: &Fields<'_, '_>) -> PyResult<ExecReport> {
    Ok(ExecReport {
        client_order_id: f.text("clientOrderId")?,
        venue_order_id: f.opt_text("venueOrderId")?,
        state: f.named("state", OrderState::from_name, "an order state")?,
        side: f.side()?,
        order_type: f.text("orderType")?,
        time_in_force: f.opt_named("timeInForce", TimeInForce::from_name, "GTC, IOC or FOK")?,
        price: f.opt_number("price")?,
        quantity: f.number("quantity")?,
        filled_quantity: f.number("filledQuantity")?,
        remaining_quantity: f.opt_number("remainingQuantity")?,
        average_price: f.opt_number("averagePrice")?,
        fee: f.opt_number("fee")?,
        fee_currency: f.opt_text("feeCurrency")?,
        reason: f.opt_text("reason")?,
        execution_id: f.opt_text("executionId")?,
        last_quantity: f.opt_number("lastQuantity")?,
        last_price: f.opt_number("lastPrice")?,
        liquidity: f.opt_named("liquidity", Liquidity::from_name, "maker or taker")?,
        last_fee: f.opt_number("lastFee")?,
        last_fee_currency: f.opt_text("lastFeeCurrency")?,
    })
}

/// Reads the deposit or withdrawal of a balance; its three keys come together.
fn transfer(f: &Fields<'_, '_>) -> PyResult<Option<Transfer>> {
    const KEYS: [&str; 3] = ["transferId", "change", "reason"];
    for key in KEYS {
        if f.opt(key)?.is_some() {
            return Ok(Some(Transfer {
                id: f.text("transferId")?,
                change: f.number("change")?,
                reason: f.named("reason", TransferReason::from_name, "deposit or withdrawal")?,
            }));
        }
    }
    Ok(None)
}

fn risk_control(f: &Fields<'_, '_>) -> PyResult<RiskControl> {
    Ok(RiskControl {
        strategy_id: f.text("strategyId")?,
        status: f.text("status")?,
        reason: f.text("reason")?,
        breach_type: f.text("breachType")?,
        metrics: match f.opt("metrics")? {
            Some(metrics) => metrics.cast::<PyMapping>()?.items()?.extract()?,
            None => Vec::new(),
        },
        kill_switch_engaged: f.value("killSwitchEngaged", "a bool")?,
        circuit_breaker_open: f.value("circuitBreakerOpen", "a bool")?,
    })
}

fn venue_id(text: &str) -> PyResult<VenueId> {
    if let Ok(number) = text.parse::<u64>()
        && number.to_string() == text
    {
        return Ok(VenueId::Number(number));
    }
    let too_long =
        || value_error(format!("expected an id of at most {} bytes, saw {text:?}", ShortText::MAX));
    ShortText::new(text).map(VenueId::Text).ok_or_else(too_long)
}

fn book_from_dict(f: &Fields<'_, '_>) -> PyResult<Book> {
    let side = |key: &str| -> PyResult<Vec<(Decimal, Decimal)>> {
        let mut levels = Vec::new();
        for level in f.get(key)?.try_iter()? {
            let level = level?;
            let level = Fields(
                level.cast::<PyMapping>().map_err(|_| value_error("book: expected {price, quantity}"))?,
            );
            levels.push((level.number("price")?, level.number("quantity")?));
        }
        Ok(levels)
    };
    let (bids, asks) = (side("bids")?, side("asks")?);
    let scale = |part: fn(&(Decimal, Decimal)) -> Decimal| {
        bids.iter().chain(&asks).map(|level| part(level).scale()).max().unwrap_or(0)
    };
    let horizons = [f.opt_number("bidHorizon")?, f.opt_number("askHorizon")?];
    let of_horizons = horizons.iter().flatten().map(|price| price.scale()).max().unwrap_or(0);
    let (price_scale, quantity_scale) = (scale(|l| l.0).max(of_horizons), scale(|l| l.1));
    let mantissa = |value: Decimal, scale: u8| {
        let fits = value.rescale(scale).and_then(|v| i64::try_from(v.mantissa()).ok());
        fits.ok_or_else(|| value_error(format!("book: {value} does not fit 64 bits with {scale} places")))
    };
    let levels = |side: &[(Decimal, Decimal)]| -> PyResult<Vec<PriceLevel>> {
        let level = |(p, q): &(Decimal, Decimal)| {
            Ok(PriceLevel { price: mantissa(*p, price_scale)?, quantity: mantissa(*q, quantity_scale)? })
        };
        side.iter().map(level).collect()
    };
    let count = |key: &str, len: usize| f.opt_value(key, "a whole number").map(|n| n.unwrap_or(len as u32));
    let horizon = |i: usize| horizons[i].map(|price| mantissa(price, price_scale)).transpose();
    Ok(Book {
        bid_horizon: horizon(0)?,
        ask_horizon: horizon(1)?,
        bid_count: count("bidCount", bids.len())?,
        ask_count: count("askCount", asks.len())?,
        bids: levels(&bids)?,
        asks: levels(&asks)?,
        price_scale,
        quantity_scale,
        first_update_id: f.opt_value("firstUpdateId", "a whole number")?.unwrap_or(0),
        last_update_id: f.opt_value("finalUpdateId", "a whole number")?.unwrap_or(0),
        checksum: f.opt_text("checksum")?.map(|c| c.parse().map_err(value_error)).transpose()?,
    })
}

fn instrument_from_dict(f: &Fields<'_, '_>) -> PyResult<Instrument> {
    let instrument = Instrument {
        symbol: f.text("symbol")?,
        kind: f.named("type", |t| t.parse::<InstrumentType>().ok(), "spot, perp, futures or options")?,
        base: f.text("baseCurrency")?,
        quote: f.text("quoteCurrency")?,
        venue: f.text("venue")?,
        expiry: f.opt_text("expiry")?,
        contract_value: f.opt_number("contractValue")?,
        contract_currency: f.opt_text("contractCurrency")?,
        strike: f.opt_number("strike")?,
        option_type: match f.opt("optionType")? {
            Some(_) => Some(f.named("optionType", |t| t.parse::<OptionType>().ok(), "call or put")?),
            None => None,
        },
        price_increment: f.opt_number("priceIncrement")?,
        quantity_increment: f.opt_number("quantityIncrement")?,
        min_quantity: f.opt_number("minQuantity")?,
        max_quantity: f.opt_number("maxQuantity")?,
        min_notional: f.opt_number("minNotional")?,
        max_notional: f.opt_number("maxNotional")?,
        price_precision: f.opt_value("pricePrecision", "a whole number")?,
        quantity_precision: f.opt_value("quantityPrecision", "a whole number")?,
        notional_precision: f.opt_value("notionalPrecision", "a whole number")?,
        halted: f.opt_value("halted", "a bool")?.unwrap_or(false),
    };
    instrument.validate().map_err(value_error)?;
    Ok(instrument)
}
