//! From payloads to dictionaries.

use super::{price, quantity};
use crate::convert::{json_loads, rfc3339};
use meltica_core::decimal::Decimal;
use meltica_core::event::{
    Book, ExecReport, Liquidity, Nanos, Payload, PriceLevel, ShortText, Side, TimeInForce,
};
use meltica_core::instrument::{Instrument, OptionType};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

/// Writes keys in order and omits absent values.
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
///
/// `provider` and `symbol` are those of the event.
pub fn to_dict<'py>(
    py: Python<'py>,
    provider: &str,
    symbol: &str,
    venue_time: Option<Nanos>,
    payload: &Payload,
) -> PyResult<Bound<'py, PyDict>> {
    let out = Writer(PyDict::new(py));
    match payload {
        Payload::Empty | Payload::Book(_) => {}
        Payload::Trade(t) => {
            out.opt("tradeId", t.id.map(|id| id.to_string()))?.opt("side", t.side.map(Side::name))?;
            out.number("price", t.price)?
                .number("quantity", t.quantity)?
                .opt("late", t.late.then_some(true))?;
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
            out.put("currency", symbol)?.number("total", b.total)?.number("available", b.available)?;
            if let Some(transfer) = &b.transfer {
                out.number("change", transfer.change)?.put("reason", transfer.reason.name())?;
                out.put("transferId", &transfer.id)?;
            }
        }
        Payload::Risk(r) => {
            out.put("strategyId", &r.strategy_id)?.put("provider", provider)?;
            out.put("symbol", symbol)?.put("status", &r.status)?.put("reason", &r.reason)?;
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
        Payload::Extension(e) => drop(out.put("name", e.name())?.put("data", json_loads(py, e.json())?)?),
        Payload::BookGap(g) => drop(out.put("expected", g.expected)?.put("seen", g.received)?),
        Payload::MarketStale(reason) => drop(out.put("reason", reason.name())?),
    }
    stamp(&out, venue_time)?;
    Ok(out.0)
}

/// Puts a report into a dictionary, without its time.
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

fn stamp(out: &Writer<'_>, venue_time: Option<Nanos>) -> PyResult<()> {
    out.opt("timestamp", venue_time.map(rfc3339)).map(drop)
}

/// Puts the best `depth` levels of each side into a dictionary.
pub fn book_to_dict<'py>(
    py: Python<'py>,
    venue_time: Option<Nanos>,
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
    let horizon = |at: Option<i64>| at.map(|at| price(book, PriceLevel { price: at, quantity: 0 }));
    out.opt_number("bidHorizon", horizon(book.bid_horizon))?;
    out.opt_number("askHorizon", horizon(book.ask_horizon))?;
    let id = |id: u64| (id != 0).then_some(id);
    out.opt("firstUpdateId", id(book.first_update_id))?.opt("finalUpdateId", id(book.last_update_id))?;
    stamp(&out, venue_time)?;
    out.opt("lastUpdate", venue_time.map(rfc3339))?;
    Ok(out.0)
}

/// Puts an instrument into a dictionary.
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
    out.opt_number("minNotional", i.min_notional)?.opt_number("maxNotional", i.max_notional)?;
    out.opt("pricePrecision", i.price_precision)?;
    out.opt("quantityPrecision", i.quantity_precision)?.opt("notionalPrecision", i.notional_precision)?;
    out.opt("halted", i.halted.then_some(true))?;
    Ok(out.0)
}
