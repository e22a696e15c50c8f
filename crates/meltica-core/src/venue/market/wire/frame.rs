//! The JSON text of each frame.

use super::super::pair::Pair;
use super::super::sink::{BalanceChange, Print, Quote, Transfer};
use super::super::tape::Candle;
use crate::decimal::Decimal;
use crate::event::{ExecReport, Liquidity, Nanos, Side, TimeInForce, TransferReason};
use crate::venue::increments::exact;
use crate::venue::{BookLevel, InstrumentRules};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// Formats text as a JSON string.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

fn side_name(side: Side) -> &'static str {
    if side == Side::Buy { "buy" } else { "sell" }
}

/// Returns a `trade` frame.
pub(super) fn trade(symbol: &str, rules: &InstrumentRules, time: Nanos, print: &Print) -> String {
    let Print { trade_id, taker_side, price, quantity } = *print;
    format!(
        r#"{{"type":"trade","symbol":{},"id":{trade_id},"side":"{}","price":"{}","quantity":"{}","time":{time}}}"#,
        Quoted(symbol),
        side_name(taker_side),
        rules.price(price),
        rules.quantity(quantity),
    )
}

/// Returns a `ticker` frame.
pub(super) fn ticker(symbol: &str, rules: &InstrumentRules, time: Nanos, quote: &Quote) -> String {
    let mut frame = format!(r#"{{"type":"ticker","symbol":{}"#, Quoted(symbol));
    if let Some(last) = quote.last {
        let _ = write!(frame, r#","last":"{}""#, rules.price(last));
    }
    for (side, level) in [("bid", quote.bid), ("ask", quote.ask)] {
        if let Some(BookLevel { price, quantity, .. }) = level {
            let (price, quantity) = (rules.price(price), rules.quantity(quantity));
            let _ = write!(frame, r#","{side}":"{price}","{side}Quantity":"{quantity}""#);
        }
    }
    let volume = exact(quote.volume_24h, rules.quantity_scale);
    let _ = write!(frame, r#","volume24h":"{volume}","time":{time}}}"#);
    frame
}

/// Returns a `candle` frame.
pub(super) fn candle(
    symbol: &str,
    rules: &InstrumentRules,
    time: Nanos,
    interval: &str,
    candle: &Candle,
) -> String {
    let mut frame =
        format!(r#"{{"type":"candle","symbol":{},"interval":{}"#, Quoted(symbol), Quoted(interval));
    let prices = [("open", candle.open), ("high", candle.high), ("low", candle.low), ("close", candle.close)];
    for (key, price) in prices {
        let _ = write!(frame, r#","{key}":"{}""#, rules.price(price));
    }
    let volume = exact(candle.volume, rules.quantity_scale);
    let Candle { open_time, close_time, closed, .. } = candle;
    let _ = write!(
        frame,
        r#","volume":"{volume}","openTime":{open_time},"closeTime":{close_time},"closed":{closed},"time":{time}}}"#
    );
    frame
}

/// Returns a `depth` frame with the changed levels, by price, and the update ids that the frame spans.
pub(super) fn depth(
    symbol: &str,
    rules: &InstrumentRules,
    time: Nanos,
    (first, last): (u64, u64),
    [bids, asks]: &[BTreeMap<i64, i64>; 2],
) -> String {
    let mut frame = format!(r#"{{"type":"depth","symbol":{}"#, Quoted(symbol));
    let _ = write!(frame, r#","first":{first},"last":{last}"#);
    let best_first = bids.iter().rev().map(|(price, quantity)| (*price, *quantity));
    write_levels(&mut frame, "bids", rules, best_first);
    write_levels(&mut frame, "asks", rules, asks.iter().map(|(price, quantity)| (*price, *quantity)));
    let _ = write!(frame, r#","time":{time}}}"#);
    frame
}

/// Returns a `depthSnapshot` frame with at most `limit` levels of each side.
pub(super) fn depth_snapshot(pair: &Pair, time: Nanos, limit: usize) -> String {
    let mut frame = format!(r#"{{"type":"depthSnapshot","symbol":{}"#, Quoted(&pair.instrument().symbol));
    let _ = write!(frame, r#","last":{}"#, pair.engine().update_id());
    for (name, side) in [("bids", Side::Buy), ("asks", Side::Sell)] {
        let levels = pair.engine().levels(side).take(limit);
        let levels = levels.map(|BookLevel { price, quantity, .. }| (price, quantity));
        write_levels(&mut frame, name, pair.rules(), levels);
    }
    let _ = write!(frame, r#","time":{time}}}"#);
    frame
}

/// Returns an `instrument` frame; `instrument` is JSON.
pub(super) fn instrument(instrument: &str, time: Nanos) -> String {
    format!(r#"{{"type":"instrument","instrument":{instrument},"time":{time}}}"#)
}

/// Returns a `balance` frame.
pub(super) fn balance(currency: &str, scale: u8, change: &BalanceChange) -> String {
    let BalanceChange { balance, time, transfer, .. } = *change;
    let (total, available) = (exact(balance.total, scale), exact(balance.available(), scale));
    let mut frame = format!(
        r#"{{"type":"balance","currency":{},"total":"{total}","available":"{available}""#,
        Quoted(currency)
    );
    if let Some(Transfer { id, amount }) = transfer {
        let (change, reason) = (exact(amount, scale), TransferReason::of(amount).name());
        let _ = write!(frame, r#","change":"{change}","reason":"{reason}","transferId":"{id}""#);
    }
    let _ = write!(frame, r#","time":{time}}}"#);
    frame
}

/// Returns an `order` frame.
pub(super) fn order(symbol: &str, time: Nanos, report: &ExecReport) -> String {
    let mut frame = r#"{"type":"order""#.to_owned();
    let own = Some(report.client_order_id.as_str()).filter(|id| !id.is_empty());
    write_text(&mut frame, "clientOrderId", own);
    write_text(&mut frame, "venueOrderId", report.venue_order_id.as_deref());
    let kind = if report.price.is_some() { "limit" } else { "market" };
    let _ = write!(
        frame,
        r#","symbol":{},"state":"{}","side":"{}","orderType":"{kind}""#,
        Quoted(symbol),
        report.state.name(),
        side_name(report.side),
    );
    write_text(&mut frame, "timeInForce", report.time_in_force.map(TimeInForce::name));
    write_number(&mut frame, "price", report.price);
    write_number(&mut frame, "quantity", Some(report.quantity));
    write_number(&mut frame, "filledQuantity", Some(report.filled_quantity));
    write_number(&mut frame, "remainingQuantity", report.remaining_quantity);
    write_number(&mut frame, "averagePrice", report.average_price);
    write_number(&mut frame, "fee", report.fee);
    write_text(&mut frame, "feeCurrency", report.fee_currency.as_deref());
    write_text(&mut frame, "reason", report.reason.as_deref());
    write_text(&mut frame, "executionId", report.execution_id.as_deref());
    write_number(&mut frame, "lastQuantity", report.last_quantity);
    write_number(&mut frame, "lastPrice", report.last_price);
    write_text(&mut frame, "liquidity", report.liquidity.map(Liquidity::name));
    write_number(&mut frame, "lastFee", report.last_fee);
    write_text(&mut frame, "lastFeeCurrency", report.last_fee_currency.as_deref());
    let _ = write!(frame, r#","time":{time}}}"#);
    frame
}

/// Appends a key and a text; nothing for an absent text.
fn write_text(frame: &mut String, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        let _ = write!(frame, r#","{key}":{}"#, Quoted(text));
    }
}

/// Appends a key and a number; nothing for an absent number.
fn write_number(frame: &mut String, key: &str, number: Option<Decimal>) {
    if let Some(number) = number {
        let _ = write!(frame, r#","{key}":"{number}""#);
    }
}

/// Appends price levels.
fn write_levels(
    frame: &mut String,
    key: &str,
    rules: &InstrumentRules,
    levels: impl Iterator<Item = (i64, i64)>,
) {
    let _ = write!(frame, r#","{key}":["#);
    for (i, (price, quantity)) in levels.enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(frame, r#"{comma}["{}","{}"]"#, rules.price(price), rules.quantity(quantity));
    }
    frame.push(']');
}
