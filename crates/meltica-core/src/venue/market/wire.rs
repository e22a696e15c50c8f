//! From a market to frames of text, one JSON object each, as `docs/venue.md` describes them. Nothing is built that
//! nobody wants.

use super::behavior::Behavior;
use super::line::Line;
use super::live::Outlet;
use super::machine::Market;
use super::orders::{UserFill, UserOrder};
use super::pacer::{Intervals, Pacer, Thin};
use super::pair::Pair;
use super::report::exec_report;
use super::sink::{Event, Print, Quote, Sink};
use super::tape::Candle;
use crate::event::{ExecReport, Nanos, Side};
use crate::venue::rules::exact;
use crate::venue::{AccountId, AssetId, Balance, BookLevel, Rules};
use std::collections::BTreeMap;
use std::fmt::{self, Display, Write};

/// Number of a channel.
pub type Channel = usize;

/// What everybody may know of a symbol: its channels, in the order of their numbers.
#[derive(Debug, Clone, Copy)]
enum Public {
    Trade,
    Ticker,
    Depth,
    Candle,
}

const PUBLIC: [&str; 4] = ["trade", "ticker", "depth", "candle"];

/// Text that is quoted as JSON wants it.
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

fn side(side: Side) -> &'static str {
    if side == Side::Buy { "buy" } else { "sell" }
}

/// The changes of a book that no frame holds yet.
#[derive(Debug, Clone, Default)]
struct Changes {
    /// By price, bids then asks.
    levels: [BTreeMap<i64, i64>; 2],
    /// Update id of the last change that a frame told, or that came before anybody wanted to know.
    told: u64,
    /// Update id of the last change.
    last: u64,
    /// How many frames are lost from now on.
    skip: u32,
}

#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    rules: Rules,
    changes: Changes,
}

/// The frames of a market.
#[derive(Debug, Clone)]
pub struct Wire {
    symbols: Vec<Symbol>,
    accounts: Vec<AccountId>,
    /// Each symbol's rules, as JSON.
    instruments: Vec<String>,
    wanted: Vec<bool>,
    /// Digits after the point, by asset.
    assets: Vec<(AssetId, String, u8)>,
    pacer: Pacer,
    kline: String,
    line: Line<(Channel, String)>,
    arrived: Vec<(Channel, String)>,
    connected: bool,
}

impl Wire {
    /// Tells what everybody may know of `market`, and what concerns each of the accounts; candles are called `kline`.
    /// `instruments` are the symbols' rules as JSON, in the market's order.
    pub fn new(
        market: &Market,
        accounts: Vec<AccountId>,
        instruments: Vec<String>,
        intervals: Intervals,
        kline: &str,
        seed: u64,
        behavior: Behavior,
    ) -> Self {
        let symbol = |pair: &Pair| Symbol {
            name: pair.instrument().symbol.clone(),
            rules: *pair.rules(),
            changes: Changes::default(),
        };
        let symbols: Vec<_> = market.pairs().iter().map(symbol).collect();
        let asset = |(name, id): &(String, AssetId)| (*id, name.clone(), market.scale(*id));
        Self {
            wanted: vec![false; PUBLIC.len() * symbols.len() + 1 + accounts.len()],
            pacer: Pacer::new(intervals, symbols.len()),
            symbols,
            accounts,
            instruments,
            assets: market.assets().iter().map(asset).collect(),
            kline: kline.to_owned(),
            line: Line::new(seed, behavior),
            arrived: Vec::new(),
            connected: true,
        }
    }

    /// Returns the names of the channels, in the order of their numbers; accounts are called `accounts`.
    pub fn channels(&self, accounts: &[String]) -> Vec<String> {
        let public =
            self.symbols.iter().flat_map(|symbol| PUBLIC.map(|kind| format!("{kind}:{}", symbol.name)));
        let private = accounts.iter().map(|name| format!("account:{name}"));
        public.chain(["instruments".to_owned()]).chain(private).collect()
    }

    /// Has frames of a channel made, or no more of them.
    pub fn want(&mut self, market: &Market, channel: Channel, wanted: bool) {
        let begins = wanted && !self.wanted[channel];
        self.wanted[channel] = wanted;
        let index = channel / PUBLIC.len();
        if begins && index < self.symbols.len() && channel == Self::public(index, Public::Depth) {
            self.symbols[index].changes.begin(market.pairs()[index].engine().update_id());
        }
    }

    /// Loses the next frames of a symbol's depth.
    pub fn skip_depth(&mut self, pair: usize, frames: u32) {
        self.symbols[pair].changes.skip = frames;
    }

    /// Takes the frames that have arrived.
    pub fn take(&mut self) -> Vec<(Channel, String)> {
        std::mem::take(&mut self.arrived)
    }

    /// Returns a whole book, at most so many levels a side.
    pub fn depth_snapshot(market: &Market, pair: &Pair, limit: usize) -> String {
        let mut out = format!(r#"{{"type":"depthSnapshot","symbol":{}"#, Quoted(&pair.instrument().symbol));
        let _ = write!(out, r#","last":{}"#, pair.engine().update_id());
        for (name, side) in [("bids", Side::Buy), ("asks", Side::Sell)] {
            let levels = pair.engine().levels(side).take(limit);
            write_levels(
                &mut out,
                name,
                pair.rules(),
                levels.map(|BookLevel { price, quantity, .. }| (price, quantity)),
            );
        }
        let _ = write!(out, r#","time":{}}}"#, market.now());
        out
    }

    fn public(pair: usize, what: Public) -> Channel {
        PUBLIC.len() * pair + what as usize
    }

    /// The channel of the instruments: it comes after those of the symbols.
    fn listed(&self) -> Channel {
        PUBLIC.len() * self.symbols.len()
    }

    /// The channel of an account: they come last.
    fn account(&self, account: AccountId) -> Option<Channel> {
        let index = self.accounts.iter().position(|other| *other == account)?;
        Some(self.listed() + 1 + index)
    }

    fn asset(&self, id: AssetId) -> &(AssetId, String, u8) {
        self.assets
            .iter()
            .find(|(asset, ..)| *asset == id)
            .expect("Invariant: the market has no other assets")
    }

    fn is_wanted(&self, channel: Channel) -> bool {
        self.connected && self.wanted[channel]
    }

    /// Sends a frame, or lets it arrive at once.
    fn send(&mut self, now: Nanos, is_report: bool, channel: Channel, frame: String) {
        let message = (channel, frame);
        if self.line.is_straight(is_report) {
            self.arrived.push(message);
        } else {
            self.line.send(now, is_report, message);
        }
    }

    fn trade(&mut self, pair: usize, time: Nanos, print: &Print) {
        let channel = Self::public(pair, Public::Trade);
        if !self.is_wanted(channel) {
            return;
        }
        let Symbol { name, rules, .. } = &self.symbols[pair];
        let Print { trade_id, taker_side, price, quantity } = *print;
        let frame = format!(
            r#"{{"type":"trade","symbol":{},"id":{trade_id},"side":"{}","price":"{}","quantity":"{}","time":{time}}}"#,
            Quoted(name),
            side(taker_side),
            rules.price(price),
            rules.quantity(quantity),
        );
        self.send(time, false, channel, frame);
    }

    fn ticker(&mut self, pair: usize, time: Nanos, quote: &Quote) {
        let channel = Self::public(pair, Public::Ticker);
        if !self.is_wanted(channel) {
            return;
        }
        let Symbol { name, rules, .. } = &self.symbols[pair];
        let mut frame = format!(r#"{{"type":"ticker","symbol":{}"#, Quoted(name));
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
        self.send(time, false, channel, frame);
    }

    fn candle(&mut self, pair: usize, time: Nanos, candle: &Candle) {
        let channel = Self::public(pair, Public::Candle);
        if !self.is_wanted(channel) {
            return;
        }
        let Symbol { name, rules, .. } = &self.symbols[pair];
        let mut frame =
            format!(r#"{{"type":"candle","symbol":{},"interval":{}"#, Quoted(name), Quoted(&self.kline));
        let prices =
            [("open", candle.open), ("high", candle.high), ("low", candle.low), ("close", candle.close)];
        for (key, price) in prices {
            let _ = write!(frame, r#","{key}":"{}""#, rules.price(price));
        }
        let volume = exact(candle.volume, rules.quantity_scale);
        let Candle { open_time, close_time, closed, .. } = candle;
        let _ = write!(
            frame,
            r#","volume":"{volume}","openTime":{open_time},"closeTime":{close_time},"closed":{closed},"time":{time}}}"#
        );
        self.send(time, false, channel, frame);
    }

    /// Tells the changes of a book that are not told yet.
    fn depth(&mut self, pair: usize, time: Nanos) {
        let channel = Self::public(pair, Public::Depth);
        if !self.is_wanted(channel) {
            return;
        }
        let Symbol { name, rules, changes } = &mut self.symbols[pair];
        if changes.told == changes.last {
            return;
        }
        let mut frame = format!(r#"{{"type":"depth","symbol":{}"#, Quoted(name));
        let _ = write!(frame, r#","first":{},"last":{}"#, changes.told + 1, changes.last);
        let [bids, asks] = &changes.levels;
        write_levels(
            &mut frame,
            "bids",
            rules,
            bids.iter().rev().map(|(price, quantity)| (*price, *quantity)),
        );
        write_levels(&mut frame, "asks", rules, asks.iter().map(|(price, quantity)| (*price, *quantity)));
        let _ = write!(frame, r#","time":{time}}}"#);
        changes.begin(changes.last);
        if changes.skip > 0 {
            changes.skip -= 1;
            return;
        }
        self.send(time, false, channel, frame);
    }

    fn report(&mut self, pair: &Pair, time: Nanos, order: &UserOrder, fill: Option<&UserFill>) {
        let Some(channel) = self.account(order.account).filter(|channel| self.is_wanted(*channel)) else {
            return;
        };
        let fee_asset = pair.engine().fee_asset(order.side);
        let (_, _, scale) = *self.asset(fee_asset);
        let mut frame = r#"{"type":"order""#.to_owned();
        write_report(&mut frame, &pair.instrument().symbol, &exec_report(pair, order, fill, scale));
        let _ = write!(frame, r#","time":{time}}}"#);
        self.send(time, true, channel, frame);
    }

    fn balance(&mut self, time: Nanos, account: AccountId, asset: AssetId, balance: Balance) {
        let Some(channel) = self.account(account).filter(|channel| self.is_wanted(*channel)) else { return };
        let (_, name, scale) = self.asset(asset);
        let (total, available) = (exact(balance.total, *scale), exact(balance.available(), *scale));
        let frame = format!(
            r#"{{"type":"balance","currency":{},"total":"{total}","available":"{available}","time":{time}}}"#,
            Quoted(name)
        );
        self.send(time, true, channel, frame);
    }
}

impl Changes {
    /// Knows the book up to an update id.
    fn begin(&mut self, update_id: u64) {
        self.levels.iter_mut().for_each(BTreeMap::clear);
        (self.told, self.last) = (update_id, update_id);
    }
}

fn write_levels(out: &mut String, name: &str, rules: &Rules, levels: impl Iterator<Item = (i64, i64)>) {
    let _ = write!(out, r#","{name}":["#);
    for (i, (price, quantity)) in levels.enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(out, r#"{comma}["{}","{}"]"#, rules.price(price), rules.quantity(quantity));
    }
    out.push(']');
}

/// Writes a report, each field after a comma.
fn write_report(out: &mut String, symbol: &str, report: &ExecReport) {
    let _ = write!(out, r#","clientOrderId":{}"#, Quoted(&report.client_order_id));
    if let Some(id) = &report.venue_order_id {
        let _ = write!(out, r#","venueOrderId":{}"#, Quoted(id));
    }
    let kind = if report.price.is_some() { "limit" } else { "market" };
    let _ = write!(
        out,
        r#","symbol":{},"state":"{}","side":"{}","orderType":"{kind}""#,
        Quoted(symbol),
        report.state.name(),
        side(report.side),
    );
    if let Some(time_in_force) = report.time_in_force {
        let _ = write!(out, r#","timeInForce":"{}""#, time_in_force.name());
    }
    if let Some(price) = report.price {
        let _ = write!(out, r#","price":"{price}""#);
    }
    let _ = write!(out, r#","quantity":"{}","filledQuantity":"{}""#, report.quantity, report.filled_quantity);
    if let Some(remaining) = report.remaining_quantity {
        let _ = write!(out, r#","remainingQuantity":"{remaining}""#);
    }
    if let Some(price) = report.average_price {
        let _ = write!(out, r#","averagePrice":"{price}""#);
    }
    if let (Some(fee), Some(currency)) = (report.fee, &report.fee_currency) {
        let _ = write!(out, r#","fee":"{fee}","feeCurrency":{}"#, Quoted(currency));
    }
    if let Some(reason) = &report.reason {
        let _ = write!(out, r#","reason":{}"#, Quoted(reason));
    }
    write_fill(out, report);
}

/// Writes the fields of the fill that a report describes, each after a comma; nothing where the report has no fill.
fn write_fill(out: &mut String, report: &ExecReport) {
    let ExecReport { execution_id: Some(id), last_fee_currency: Some(currency), .. } = report else { return };
    let _ = write!(out, r#","executionId":{}"#, Quoted(id));
    let numbers = [
        ("lastQuantity", report.last_quantity),
        ("lastPrice", report.last_price),
        ("lastFee", report.last_fee),
    ];
    for (key, number) in numbers {
        if let Some(number) = number {
            let _ = write!(out, r#","{key}":"{number}""#);
        }
    }
    let _ = write!(out, r#","lastFeeCurrency":{}"#, Quoted(currency));
    if let Some(liquidity) = report.liquidity {
        let _ = write!(out, r#","liquidity":"{}""#, liquidity.name());
    }
}

impl Sink for Wire {
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>) {
        let index = pair.index();
        match event {
            Event::Trade(print) => self.trade(index, time, &print),
            Event::Quote(quote) => {
                if self.pacer.is_due(index, Thin::Ticker, time) {
                    self.ticker(index, time, &quote);
                }
            }
            Event::Level(change) => {
                let changes = &mut self.symbols[index].changes;
                let BookLevel { side, price, quantity, .. } = change.level;
                changes.last = change.update_id;
                if self.wanted[Self::public(index, Public::Depth)] {
                    changes.levels[side as usize].insert(price, quantity);
                }
            }
            Event::Book(_) => {
                if self.pacer.is_due(index, Thin::Book, time) {
                    self.depth(index, time);
                }
            }
            Event::Candle(candle) => self.candle(index, time, &candle),
            Event::Report(report) => self.report(pair, time, report.order, report.fill),
            Event::Balance(account, asset, balance) => self.balance(time, account, asset, balance),
        }
    }
}

impl Outlet for Wire {
    fn next_due(&self) -> Nanos {
        self.line.next_due().min(self.pacer.next_due())
    }

    fn tick(&mut self, market: &Market, now: Nanos) {
        while let Some((_, message)) = self.line.take(now) {
            self.arrived.push(message);
        }
        while let Some((index, what)) = self.pacer.take(now) {
            match what {
                Thin::Ticker => self.ticker(index, now, market.pairs()[index].quote()),
                Thin::Book => self.depth(index, now),
            }
        }
    }

    fn cut(&mut self, _: &Market, now: Nanos) -> Nanos {
        let since = self.line.cut(now);
        self.pacer.reset();
        self.connected = false;
        since
    }

    /// Clients come back by themselves, and ask for what they missed.
    fn restored(&mut self, market: &Market, _: Nanos) {
        self.connected = true;
        for (symbol, pair) in self.symbols.iter_mut().zip(market.pairs()) {
            symbol.changes.begin(pair.engine().update_id());
        }
    }

    fn instruments(&mut self, market: &Market) {
        let (channel, now) = (self.listed(), market.now());
        if !self.is_wanted(channel) {
            return;
        }
        for index in 0..self.instruments.len() {
            let rules = &self.instruments[index];
            let frame = format!(r#"{{"type":"instrument","instrument":{rules},"time":{now}}}"#);
            self.send(now, false, channel, frame);
        }
    }

    fn balances(&mut self, market: &Market) {
        for account in self.accounts.clone() {
            for (_, asset, balance) in market.balances(account) {
                self.balance(market.now(), account, asset, balance);
            }
        }
    }

    fn behave(&mut self, behavior: Behavior) {
        self.line.set(behavior);
    }
}
