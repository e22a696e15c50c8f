//! Payloads as dictionaries with the JSON keys of the REST API, and back.

use crate::convert::{decimal, json_dumps, json_loads, parse_rfc3339, rfc3339, value_error};
use meltica_core::decimal::Decimal;
use meltica_core::event::{
    BalanceUpdate, Book, BookGap, ExecReport, Extension, Header, Kind, Kline, Liquidity, OrderState, Payload,
    PriceLevel, RiskControl, ShortText, Side, StaleReason, Ticker, TimeInForce, Trade, VenueId,
};
use meltica_core::instrument::{Instrument, InstrumentType, OptionType};
use pyo3::exceptions::{PyKeyError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyMapping};

/// A payload, books apart: they live in slots of their own.
pub enum Parsed {
    Payload(Payload),
    Book(Book),
}

/// Writes keys in order and leaves out what is absent.
struct Writer<'py>(Bound<'py, PyDict>);

impl<'py> Writer<'py> {
    fn put(&self, key: &str, value: impl IntoPyObject<'py>) -> PyResult<&Self> {
        self.0.set_item(key, value)?;
        Ok(self)
    }

    fn opt(&self, key: &str, value: Option<impl IntoPyObject<'py>>) -> PyResult<&Self> {
        value.map_or(Ok(self), |value| self.put(key, value))
    }

    fn number(&self, key: &str, value: Decimal) -> PyResult<&Self> {
        self.put(key, value.to_string())
    }

    fn opt_number(&self, key: &str, value: Option<Decimal>) -> PyResult<&Self> {
        self.opt(key, value.map(|v| v.to_string()))
    }
}

/// Puts a payload into a dictionary.
pub fn to_dict<'py>(py: Python<'py>, header: &Header, payload: &Payload) -> PyResult<Bound<'py, PyDict>> {
    let out = Writer(PyDict::new(py));
    match payload {
        Payload::Empty | Payload::Book(_) => {}
        Payload::Trade(t) => {
            out.put("tradeId", t.id.to_string())?.opt("side", t.side.map(Side::name))?;
            out.number("price", t.price)?.number("quantity", t.quantity)?;
        }
        Payload::Ticker(t) => {
            out.opt_number("lastPrice", t.last)?
                .opt_number("bidPrice", t.bid)?
                .opt_number("askPrice", t.ask)?;
            out.opt_number("bidQuantity", t.bid_quantity)?.opt_number("askQuantity", t.ask_quantity)?;
            out.opt_number("volume24h", t.volume_24h)?;
        }
        Payload::Kline(k) => {
            out.number("openPrice", k.open)?.number("closePrice", k.close)?;
            out.number("highPrice", k.high)?.number("lowPrice", k.low)?.number("volume", k.volume)?;
            out.put("openTime", rfc3339(k.open_time))?.put("closeTime", rfc3339(k.close_time))?;
            out.opt("interval", k.interval.as_ref().map(ShortText::as_str))?.opt("closed", k.closed)?;
        }
        Payload::Exec(r) => exec(&out, r)?,
        Payload::Instrument(i) => drop(out.put("instrument", instrument_to_dict(py, i)?)?),
        Payload::Balance(b) => {
            out.put("currency", header.symbol.name())?
                .number("total", b.total)?
                .number("available", b.available)?;
        }
        Payload::Risk(r) => {
            out.put("strategyId", &r.strategy_id)?.put("provider", header.provider.name())?;
            out.put("symbol", header.symbol.name())?.put("status", &r.status)?.put("reason", &r.reason)?;
            out.put("breachType", &r.breach_type)?;
            if !r.metrics.is_empty() {
                let metrics = PyDict::new(py);
                for (key, value) in &r.metrics {
                    metrics.set_item(key, value)?;
                }
                out.put("metrics", metrics)?;
            }
            out.put("killSwitchEngaged", r.kill_switch_engaged)?
                .put("circuitBreakerOpen", r.circuit_breaker_open)?;
        }
        Payload::Extension(e) => drop(out.put("name", &e.name)?.put("data", json_loads(py, &e.json)?)?),
        Payload::BookGap(g) => drop(out.put("expected", g.expected)?.put("seen", g.seen)?),
        Payload::MarketStale(reason) => drop(out.put("reason", reason.name())?),
    }
    stamp(&out, header)?;
    Ok(out.0)
}

/// Puts a report into a dictionary, without a time.
pub fn exec_to_dict<'py>(py: Python<'py>, report: &ExecReport) -> PyResult<Bound<'py, PyDict>> {
    let out = Writer(PyDict::new(py));
    exec(&out, report)?;
    Ok(out.0)
}

fn exec(out: &Writer<'_>, r: &ExecReport) -> PyResult<()> {
    out.put("clientOrderId", &r.client_order_id)?.opt("venueOrderId", r.venue_order_id.as_ref())?;
    out.put("state", r.state.name())?.put("side", r.side.name())?.put("orderType", &r.order_type)?;
    out.opt("timeInForce", r.time_in_force.map(TimeInForce::name))?;
    out.opt_number("price", r.price)?.number("quantity", r.quantity)?;
    out.number("filledQuantity", r.filled_quantity)?.opt_number("remainingQuantity", r.remaining_quantity)?;
    out.opt_number("averagePrice", r.average_price)?.opt_number("fee", r.fee)?;
    out.opt("feeCurrency", r.fee_currency.as_ref())?.opt("reason", r.reason.as_ref())?;
    out.opt("executionId", r.execution_id.as_ref())?.opt_number("lastQuantity", r.last_quantity)?;
    out.opt_number("lastPrice", r.last_price)?.opt("liquidity", r.liquidity.map(Liquidity::name))?;
    out.opt_number("lastFee", r.last_fee)?.opt("lastFeeCurrency", r.last_fee_currency.as_ref()).map(drop)
}

fn stamp(out: &Writer<'_>, header: &Header) -> PyResult<()> {
    out.opt("timestamp", header.venue_time.map(rfc3339)).map(drop)
}

/// Puts a book into a dictionary, `depth` levels a side.
pub fn book_to_dict<'py>(
    py: Python<'py>,
    header: &Header,
    book: &Book,
    depth: usize,
) -> PyResult<Bound<'py, PyDict>> {
    let out = Writer(PyDict::new(py));
    for (key, levels) in [("bids", &book.bids), ("asks", &book.asks)] {
        let list = PyList::empty(py);
        for level in levels.iter().take(depth) {
            let entry = Writer(PyDict::new(py));
            entry.put("price", price(book, *level).to_string())?;
            entry.put("quantity", quantity(book, *level).to_string())?;
            list.append(entry.0)?;
        }
        out.put(key, list)?;
    }
    out.opt("checksum", book.checksum.map(|c| c.to_string()))?;
    out.put("bidCount", book.bid_count)?.put("askCount", book.ask_count)?;
    let id = |id: u64| (id != 0).then_some(id);
    out.opt("firstUpdateId", id(book.first_update_id))?.opt("finalUpdateId", id(book.last_update_id))?;
    stamp(&out, header)?;
    out.opt("lastUpdate", header.venue_time.map(rfc3339))?;
    Ok(out.0)
}

/// The price of a level of `book`.
pub fn price(book: &Book, level: PriceLevel) -> Decimal {
    Decimal::new(i128::from(level.price), book.price_scale).unwrap_or(Decimal::ZERO)
}

/// The quantity of a level of `book`.
pub fn quantity(book: &Book, level: PriceLevel) -> Decimal {
    Decimal::new(i128::from(level.quantity), book.quantity_scale).unwrap_or(Decimal::ZERO)
}

pub fn instrument_to_dict<'py>(py: Python<'py>, i: &Instrument) -> PyResult<Bound<'py, PyDict>> {
    let out = Writer(PyDict::new(py));
    out.put("symbol", &i.symbol)?.put("type", i.kind.name())?;
    out.put("baseCurrency", &i.base)?.put("quoteCurrency", &i.quote)?.put("venue", &i.venue)?;
    out.opt("expiry", i.expiry.as_ref())?.opt("contractValue", i.contract_value.map(Decimal::to_f64))?;
    out.opt("contractCurrency", i.contract_currency.as_ref())?
        .opt("strike", i.strike.map(Decimal::to_f64))?;
    out.opt("optionType", i.option_type.map(OptionType::name))?;
    out.opt_number("priceIncrement", i.price_increment)?
        .opt_number("quantityIncrement", i.quantity_increment)?;
    out.opt_number("minQuantity", i.min_quantity)?.opt_number("maxQuantity", i.max_quantity)?;
    out.opt_number("minNotional", i.min_notional)?.opt("pricePrecision", i.price_precision)?;
    out.opt("quantityPrecision", i.quantity_precision)?.opt("notionalPrecision", i.notional_precision)?;
    Ok(out.0)
}

/// Reads keys, with errors that name them.
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
            .ok_or_else(|| value_error(format!("payload: expected the key {key:?}, which is absent")))
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
            id: venue_id(&f.get("tradeId")?.str()?.to_string())?,
            side: f.opt_named("side", Side::from_name, "Buy or Sell")?,
            price: f.number("price")?,
            quantity: f.number("quantity")?,
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
        Kind::ExecReport => Payload::Exec(Box::new(ExecReport {
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
        })),
        Kind::InstrumentUpdate => {
            let inner = f.get("instrument")?;
            let inner =
                inner.cast::<PyMapping>().map_err(|_| value_error("payload: expected an instrument"))?;
            Payload::Instrument(Box::new(instrument_from_dict(&Fields(inner))?))
        }
        Kind::BalanceUpdate => {
            Payload::Balance(BalanceUpdate { total: f.number("total")?, available: f.number("available")? })
        }
        Kind::RiskControl => Payload::Risk(Box::new(RiskControl {
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
        })),
        Kind::Extension => {
            // What a lambda emits may well be None.
            let json = f.opt("data")?.map_or_else(|| Ok("null".into()), |data| json_dumps(&data))?;
            Payload::Extension(Box::new(extension(f.text("name")?, json, 0)?))
        }
        Kind::BookGap => Payload::BookGap(BookGap {
            expected: f.value("expected", "a whole number")?,
            seen: f.value("seen", "a whole number")?,
        }),
        Kind::MarketStale => Payload::MarketStale(f.named(
            "reason",
            |name| StaleReason::ALL.into_iter().find(|reason| reason.name() == name),
            "a reason for staleness",
        )?),
    }))
}

/// Makes an extension payload of checked size.
pub fn extension(name: String, json: String, origin: u64) -> PyResult<Extension> {
    if json.len() > Extension::MAX_BYTES {
        let (seen, max) = (json.len(), Extension::MAX_BYTES);
        return Err(value_error(format!(
            "extension {name:?}: expected at most {max} bytes of JSON, saw {seen}"
        )));
    }
    Ok(Extension { name, json, origin })
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
    let (price_scale, quantity_scale) = (scale(|l| l.0), scale(|l| l.1));
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
    Ok(Book {
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
        price_precision: f.opt_value("pricePrecision", "a whole number")?,
        quantity_precision: f.opt_value("quantityPrecision", "a whole number")?,
        notional_precision: f.opt_value("notionalPrecision", "a whole number")?,
    };
    instrument.validate().map_err(value_error)?;
    Ok(instrument)
}
