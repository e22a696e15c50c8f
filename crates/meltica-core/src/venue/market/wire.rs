//! Encodes a market's events as text frames, one JSON object each; `docs/venue.md` describes them. Frames without a
//! subscriber are not built.

mod frame;

use super::behavior::Behavior;
use super::budget::Budget;
use super::machine::Market;
use super::network::SimulatedNetwork;
use super::pacer::{Intervals, Pacer, Stream};
use super::pair::Pair;
use super::refresh::{Item, Refresh};
use super::report::exec_report;
use super::simulated_venue::Outlet;
use super::sink::{BalanceChange, Event, Print, Quote, Report, Sink};
use super::tape::Candle;
use crate::event::Nanos;
use crate::venue::{AccountId, AssetId, BookLevel, InstrumentRules};
use std::collections::BTreeMap;

/// Number of a channel.
pub type Channel = usize;

/// The public channels of a symbol, in the order of their numbers.
#[derive(Debug, Clone, Copy)]
enum Public {
    Trade,
    Ticker,
    Depth,
    Candle,
}

const PUBLIC: [&str; 4] = ["trade", "ticker", "depth", "candle"];

/// The changes of a book that are not yet in a frame.
#[derive(Debug, Clone, Default)]
struct Changes {
    /// By price, bids then asks.
    levels: [BTreeMap<i64, i64>; 2],
    /// Update id of the last change that was sent, or that preceded the subscription.
    sent: u64,
    /// Update id of the last change.
    last: u64,
    /// How many of the next frames are dropped.
    skip: u32,
}

#[derive(Debug, Clone)]
struct Symbol {
    name: String,
    rules: InstrumentRules,
    changes: Changes,
}

/// Encodes a market's events as frames and delivers them over a simulated network.
#[derive(Debug, Clone)]
pub struct Wire {
    symbols: Vec<Symbol>,
    accounts: Vec<AccountId>,
    /// The instrument of each symbol, as JSON.
    instruments: Vec<String>,
    /// By channel: whether it has a subscriber.
    wanted: Vec<bool>,
    /// Name and scale of each asset.
    assets: Vec<(AssetId, String, u8)>,
    pacer: Pacer,
    kline: String,
    network: SimulatedNetwork<(Channel, String)>,
    arrived: Vec<(Channel, String)>,
    refresh: Refresh,
    connected: bool,
    /// Whether the private channels are silent.
    muted: bool,
}

impl Wire {
    /// Returns the encoder of `market`'s public channels and of the private channels of `accounts`. `instruments` are
    /// the instruments as JSON, in the market's order; `kline` is the name of the candle interval.
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
            network: SimulatedNetwork::new(seed, behavior),
            arrived: Vec::new(),
            refresh: Refresh::default(),
            connected: true,
            muted: false,
        }
    }

    /// Returns the names of the channels, in the order of their numbers. `accounts` are the names of the accounts.
    pub fn channels(&self, accounts: &[String]) -> Vec<String> {
        let public =
            self.symbols.iter().flat_map(|symbol| PUBLIC.map(|kind| format!("{kind}:{}", symbol.name)));
        let private = accounts.iter().map(|name| format!("account:{name}"));
        public.chain(["instruments".to_owned()]).chain(private).collect()
    }

    /// Starts or stops encoding a channel.
    pub fn want(&mut self, market: &Market, channel: Channel, wanted: bool) {
        let begins = wanted && !self.wanted[channel];
        self.wanted[channel] = wanted;
        let index = channel / PUBLIC.len();
        if begins && index < self.symbols.len() && channel == Self::public(index, Public::Depth) {
            self.symbols[index].changes.restart(market.pairs()[index].engine().update_id());
        }
    }

    /// Drops the next depth frames of a symbol.
    pub fn skip_depth(&mut self, pair: usize, frames: u32) {
        self.symbols[pair].changes.skip = frames;
    }

    /// Takes the frames that have arrived.
    pub fn take(&mut self) -> Vec<(Channel, String)> {
        std::mem::take(&mut self.arrived)
    }

    /// Returns a frame with a whole book, at most `limit` levels of each side.
    pub fn depth_snapshot(market: &Market, pair: &Pair, limit: usize) -> String {
        frame::depth_snapshot(pair, market.now(), limit)
    }

    fn public(pair: usize, kind: Public) -> Channel {
        PUBLIC.len() * pair + kind as usize
    }

    /// Returns the channel of the instruments, which follows the public channels.
    fn instruments_channel(&self) -> Channel {
        PUBLIC.len() * self.symbols.len()
    }

    /// Returns the channel of an account. Account channels come last.
    fn account_channel(&self, account: AccountId) -> Option<Channel> {
        let index = self.accounts.iter().position(|other| *other == account)?;
        Some(self.instruments_channel() + 1 + index)
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

    /// Sends a frame, or delivers it at once where the network adds no delay.
    fn send(&mut self, now: Nanos, is_report: bool, channel: Channel, frame: String) {
        let message = (channel, frame);
        if self.network.is_immediate(is_report) {
            self.arrived.push(message);
        } else {
            self.network.send(now, is_report, message);
        }
    }

    /// Encodes and sends a public frame if its channel has a subscriber.
    fn publish(
        &mut self,
        pair: usize,
        kind: Public,
        time: Nanos,
        encode: impl FnOnce(&Self, &Symbol) -> String,
    ) {
        let channel = Self::public(pair, kind);
        if self.is_wanted(channel) {
            let frame = encode(self, &self.symbols[pair]);
            self.send(time, false, channel, frame);
        }
    }

    fn trade(&mut self, pair: usize, time: Nanos, print: &Print) {
        self.publish(pair, Public::Trade, time, |_, symbol| {
            frame::trade(&symbol.name, &symbol.rules, time, print)
        });
    }

    fn ticker(&mut self, pair: usize, time: Nanos, quote: &Quote) {
        self.publish(pair, Public::Ticker, time, |_, symbol| {
            frame::ticker(&symbol.name, &symbol.rules, time, quote)
        });
    }

    fn candle(&mut self, pair: usize, time: Nanos, candle: &Candle) {
        self.publish(pair, Public::Candle, time, |wire, symbol| {
            frame::candle(&symbol.name, &symbol.rules, time, &wire.kline, candle)
        });
    }

    /// Sends the pending changes of a book.
    fn depth(&mut self, pair: usize, time: Nanos) {
        let channel = Self::public(pair, Public::Depth);
        if !self.is_wanted(channel) {
            return;
        }
        let Symbol { name, rules, changes } = &mut self.symbols[pair];
        if changes.sent == changes.last {
            return;
        }
        let frame = frame::depth(name, rules, time, (changes.sent + 1, changes.last), &changes.levels);
        changes.restart(changes.last);
        if changes.skip > 0 {
            changes.skip -= 1;
            return;
        }
        self.send(time, false, channel, frame);
    }

    /// Returns the channel of an account if it has a subscriber and is not muted.
    fn wanted_account(&self, account: AccountId) -> Option<Channel> {
        self.account_channel(account).filter(|channel| !self.muted && self.is_wanted(*channel))
    }

    fn refresh(&mut self, market: &Market, now: Nanos, item: &Item) {
        match *item {
            Item::Instrument(index) => {
                let channel = self.instruments_channel();
                if self.is_wanted(channel) {
                    let frame = frame::instrument(&self.instruments[index], now);
                    self.send(now, false, channel, frame);
                }
            }
            Item::Balance(account, asset) => {
                self.balance(now, &BalanceChange::of(market, account, asset));
            }
            // Clients request what they missed.
            Item::Quote(_) | Item::Order(..) => {}
        }
    }

    fn report(&mut self, pair: &Pair, now: Nanos, report: Report<'_>) {
        let Report { order, fill, time } = report;
        let Some(channel) = self.wanted_account(order.account) else { return };
        let report = exec_report(pair, order, fill, |id| {
            let (_, name, scale) = self.asset(id);
            (name, *scale)
        });
        self.send(now, true, channel, frame::order(&pair.instrument().symbol, time, &report));
    }

    fn balance(&mut self, now: Nanos, change: &BalanceChange) {
        let Some(channel) = self.wanted_account(change.account) else { return };
        let (_, name, scale) = self.asset(change.asset);
        let frame = frame::balance(name, *scale, change);
        self.send(now, true, channel, frame);
    }
}

impl Changes {
    /// Starts after an update id, with no changes pending.
    fn restart(&mut self, update_id: u64) {
        self.levels.iter_mut().for_each(BTreeMap::clear);
        (self.sent, self.last) = (update_id, update_id);
    }
}

impl Sink for Wire {
    fn on(&mut self, pair: &Pair, time: Nanos, event: Event<'_>) {
        let index = pair.index();
        match event {
            Event::Trade(print) => self.trade(index, time, &print),
            Event::Quote(quote) => {
                if self.pacer.is_due(index, Stream::Ticker, time) {
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
                if self.pacer.is_due(index, Stream::Book, time) {
                    self.depth(index, time);
                }
            }
            Event::Candle(candle) => self.candle(index, time, &candle),
            Event::Report(report) => self.report(pair, time, report),
            Event::Balance(change) => self.balance(time, &change),
        }
    }
}

impl Outlet for Wire {
    fn next_due(&self) -> Nanos {
        self.network.next_due().min(self.pacer.next_due()).min(self.refresh.next_due())
    }

    fn tick(&mut self, market: &Market, now: Nanos, budget: &mut Budget) -> bool {
        while self.next_due() <= now {
            if budget.is_spent() {
                return false;
            }
            if let Some((_, message)) = self.network.take(now) {
                self.arrived.push(message);
            } else if let Some((index, stream)) = self.pacer.take(now) {
                match stream {
                    Stream::Ticker => self.ticker(index, now, market.pairs()[index].quote()),
                    Stream::Book => self.depth(index, now),
                }
            } else if let Some(item) = self.refresh.take() {
                self.refresh(market, now, &item);
            }
        }
        true
    }

    fn cut(&mut self, _: &Market, now: Nanos) -> Nanos {
        let since = self.network.cut(now);
        self.pacer.reset();
        self.refresh.clear();
        self.connected = false;
        since
    }

    /// Accepts connections again. Clients reconnect by themselves and request what they missed.
    fn restored(&mut self, market: &Market, _: Nanos) {
        self.connected = true;
        for (symbol, pair) in self.symbols.iter_mut().zip(market.pairs()) {
            symbol.changes.restart(pair.engine().update_id());
        }
    }

    fn instruments(&mut self, market: &Market) {
        if self.is_wanted(self.instruments_channel()) {
            self.refresh.add_instruments(market);
        }
    }

    fn balances(&mut self, market: &Market) {
        for (index, account) in self.accounts.iter().enumerate() {
            if self.is_wanted(self.instruments_channel() + 1 + index) {
                self.refresh.add_balances(market, *account);
            }
        }
    }

    fn set_behavior(&mut self, behavior: Behavior) {
        self.network.set_behavior(behavior);
    }

    fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }
}
