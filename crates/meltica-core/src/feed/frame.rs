//! The messages of one frame.

use super::books::{Books, SymbolBooks};
use super::candles::Candles;
use super::checks::Checks;
use super::connections::Connections;
use super::contracts::{self, Contracts, Unit};
use super::events::{BookEvents, publish};
use super::kept::KeptTickers;
use super::notices::OwedNotices;
use super::numbers::Arrival;
use super::windows::Windows;
use super::{FeedOutcome, FeedStats, Source};
use crate::codec::{BookIds, Codec, DecodeError, Decoded, Levels, MessageInfo, Role, Sink, SnapshotMode};
use crate::dispatch::{NotDispatched, Origin, Publisher, Wanted};
use crate::event::{Kind, Kline, Nanos, Payload, StaleReason, VenueId};
use crate::names::SymbolId;

/// Publishes the messages of one frame and counts them by outcome.
pub(super) struct FrameSink<'f> {
    pub codec: &'f Codec,
    pub publisher: &'f mut Publisher,
    pub books: &'f mut Books,
    /// The books of which each message has the best levels, without changes between them.
    pub partials: &'f mut Books,
    pub connections: &'f mut Connections,
    pub connection: u32,
    pub windows: &'f mut Windows,
    pub kept: &'f mut KeptTickers,
    pub candles: &'f mut Candles,
    pub checks: &'f mut Checks,
    pub contracts: &'f mut Contracts,
    /// Whether the quantities of derivatives are contracts on this connection.
    pub in_contracts: bool,
    pub owed: &'f mut OwedNotices,
    pub stats: &'f FeedStats,
    pub source: Source,
    /// The symbol of all messages of earlier frames, if it is the only one.
    pub only_symbol: Option<SymbolId>,
    pub frame: &'f [u8],
    pub received_time: Nanos,
    /// Whether a message is received at its venue's time.
    pub by_venue_time: bool,
    /// The route of the current message.
    pub wanted: Option<Wanted>,
    pub outcome: FeedOutcome,
    /// The reason why a message was not dispatched. The messages after it are dropped.
    pub failed: Option<NotDispatched>,
}

impl Sink for FrameSink<'_> {
    #[inline]
    fn wanted(&mut self, kind: Kind, symbol: SymbolId) -> bool {
        self.connections.note(kind, symbol);
        self.wanted = self.publisher.wanted(kind, symbol);
        self.wanted.is_some() || self.codec.is_stateful(kind)
    }

    #[inline]
    fn connection_sequence(&mut self, number: u64) -> bool {
        let (counter, reason) = match self.connections.add(number, self.frame) {
            Arrival::Next => return true,
            Arrival::Old => {
                self.stats.old_frames.bump(1);
                return false;
            }
            Arrival::Gap => (&self.stats.frame_gaps, StaleReason::Gap),
            Arrival::Restarted => (&self.stats.frame_restarts, StaleReason::Restarted),
        };
        counter.bump(1);
        self.kept.forget(Some(self.connection), None);
        self.candles.forget(Some(self.connection), None);
        match self.invalidate(reason, |_, _| true, |_| true) {
            Ok(events) => self.outcome.events += events,
            Err(error) => self.failed = Some(error),
        }
        true
    }

    fn depth(&mut self, symbol: SymbolId, levels: u32) {
        self.checks.confirm(self.connection, symbol, levels);
        if let Some(books) = self.books.get_mut(&symbol) {
            books.confirm_window(self.connection, levels);
        }
    }

    fn wanted_extension(&mut self, name: &str) -> bool {
        self.publisher.wanted_extension(name).is_some()
    }

    #[inline]
    fn message(&mut self, message: Result<Decoded<'_>, DecodeError>) {
        if self.failed.is_some() {
            return;
        }
        if self.by_venue_time
            && let Some(time) = message.as_ref().ok().and_then(Decoded::venue_time)
        {
            self.received_time = time;
        }
        match self.dispatch(message) {
            Ok(events) => self.outcome.events += events,
            Err(error) => self.failed = Some(error),
        }
    }
}

impl FrameSink<'_> {
    #[inline]
    fn dispatch(&mut self, message: Result<Decoded<'_>, DecodeError>) -> Result<u32, NotDispatched> {
        let (received_time, bad) = (self.received_time, self.outcome.bad);
        let dispatched = match message {
            Ok(Decoded::Event { message, kind, symbol, venue_time, id, met, payload }) => {
                let origin = Origin { kind, symbol, venue_time, received_time };
                self.identified(message, origin, id, met, payload)
            }
            Ok(Decoded::BookDiff { message, symbol, venue_time, ids, levels, checksum }) => {
                self.diff(message, symbol, venue_time, ids, levels, checksum)
            }
            Ok(Decoded::BookSnapshot { message, symbol, venue_time, ids, levels, checksum }) => {
                let mode = self.codec.messages()[usize::from(message)].snapshot;
                let mode = mode.unwrap_or(SnapshotMode::Joins);
                match self.source.symbol(symbol, self.only_symbol) {
                    Ok(symbol) => self.snapshot(message, symbol, venue_time, (ids, mode), levels, checksum),
                    Err((kind, text)) => Ok(self.bad(kind, text)),
                }
            }
            Ok(Decoded::Unwanted { kind, symbol }) => {
                self.stats.unwanted.bump(1);
                // The book misses the changes, and without numbers nothing else shows that.
                if kind == Kind::BookSnapshot
                    && self.books.get(&symbol).is_some_and(SymbolBooks::is_unnumbered)
                {
                    self.invalidate(StaleReason::Undecoded, |other, _| other == symbol, |_| false)
                } else {
                    Ok(0)
                }
            }
            Ok(Decoded::Control { .. }) => {
                self.stats.control.bump(1);
                self.outcome.control += 1;
                return Ok(0);
            }
            Ok(Decoded::Unmatched) => {
                self.stats.ignore(self.frame);
                self.outcome.unmatched += 1;
                return Ok(0);
            }
            Err(error) => {
                let text = self.codec.describe(&error);
                self.bad(error.kind(), text);
                if error.names_other_symbol() {
                    Ok(0)
                } else {
                    self.forget(&error);
                    self.lose_books(&error)
                }
            }
        };
        self.outcome.decoded += u32::from(self.outcome.bad == bad);
        dispatched
    }

    /// Publishes an event, unless it was received before or is older than its subscription.
    #[inline]
    fn identified(
        &mut self,
        message: u16,
        origin: Origin,
        id: Option<VenueId>,
        met: u16,
        payload: &mut Payload,
    ) -> Result<u32, NotDispatched> {
        let info = &self.codec.messages()[usize::from(message)];
        let of = (origin.symbol, self.connection);
        let seen = self.windows.check(self.stats, info, of, id, origin.venue_time);
        let notices = if seen.has_restarted { self.missed(origin)? } else { 0 };
        if !seen.is_new || info.keep && !self.keep(info, origin.symbol, met, payload) {
            return Ok(notices);
        }
        if let Payload::Trade(trade) = payload {
            trade.late = seen.is_late;
        }
        let notices = notices + self.list(origin, payload)?;
        let converted = if self.in_contracts {
            self.contracts.count(origin.symbol).convert(origin.symbol, payload)
        } else {
            Ok(())
        };
        Ok(notices
            + match converted {
                Ok(()) => self.event(info, origin, payload)?,
                Err((kind, text)) => self.bad(kind, text),
            })
    }

    /// Publishes an event, unless it is a candle that is wrong or repeated. Of a ticker that is crossed, bid and ask are
    /// absent, and the market is stale.
    #[inline]
    fn event(
        &mut self,
        info: &MessageInfo,
        mut origin: Origin,
        payload: &mut Payload,
    ) -> Result<u32, NotDispatched> {
        match payload {
            // Extensions are routed by their name.
            Payload::Extension(extension) => {
                let found = self.publisher.wanted_extension(extension.name());
                (self.wanted, origin.symbol) =
                    found.map_or((None, origin.symbol), |(wanted, name)| (Some(wanted), name));
            }
            Payload::Ticker(ticker) if ticker.bid.zip(ticker.ask).is_some_and(|(bid, ask)| bid >= ask) => {
                (ticker.bid, ticker.bid_quantity, ticker.ask, ticker.ask_quantity) = (None, None, None, None);
                self.stats.crossed_tickers.bump(1);
                let events = publish(self.publisher, self.stats, self.wanted, origin, payload)?;
                return Ok(events
                    + self.parts(origin.symbol, origin.venue_time).2.stale(StaleReason::TickerCrossed)?);
            }
            Payload::Kline(candle) if candle.high < candle.low => {
                self.stats.bad_candles.bump(1);
                return Ok(0);
            }
            Payload::Kline(candle) if info.closed_by_next => return self.candle(origin, *candle),
            Payload::Kline(candle) if self.candles.is_repeated(origin.symbol, candle) => {
                self.stats.repeated_candles.bump(1);
                return Ok(0);
            }
            _ => {}
        }
        publish(self.publisher, self.stats, self.wanted, origin, payload)
    }

    /// Publishes the candle that one closes by its start, and itself.
    fn candle(&mut self, origin: Origin, candle: Kline) -> Result<u32, NotDispatched> {
        let candles = match candle.interval {
            Some(interval) => {
                self.candles.next(self.stats, (self.connection, origin.symbol, interval), candle)
            }
            None => [None, Some(candle)],
        };
        let mut events = 0;
        for candle in candles.into_iter().flatten() {
            let payload = &mut Payload::Kline(candle);
            events += publish(self.publisher, self.stats, self.wanted, origin, payload)?;
        }
        Ok(events)
    }

    /// Counts a message of a book whose quantities cannot be converted to base.
    #[inline]
    fn check_unit(&mut self, symbol: SymbolId) {
        if self.in_contracts
            && let Some((kind, text)) = self.contracts.unit(symbol).refusal(symbol)
        {
            self.bad(kind, text);
        }
    }

    /// Takes what an instrument says of books and contracts.
    #[inline]
    fn list(&mut self, origin: Origin, payload: &Payload) -> Result<u32, NotDispatched> {
        let Payload::Instrument(instrument) = payload else { return Ok(0) };
        let Origin { symbol, venue_time, received_time, .. } = origin;
        self.checks.list(symbol, instrument);
        if !self.contracts.list(symbol, instrument) {
            return Ok(0);
        }
        let (publisher, owed) = (&mut *self.publisher, &mut *self.owed);
        let mut to = BookEvents::new(publisher, self.stats, owed, symbol, venue_time, received_time);
        contracts::end_size([self.books, self.partials], self.kept, &mut to)
    }

    /// Completes a ticker with the values kept before. Returns whether it has a value of its own.
    fn keep(&mut self, info: &MessageInfo, symbol: SymbolId, met: u16, payload: &mut Payload) -> bool {
        let Payload::Ticker(ticker) = payload else { return true };
        let replaces = info.snapshot == Some(SnapshotMode::Replaces);
        self.kept.complete((self.connection, symbol), ticker, met, replaces);
        if met == 0 {
            self.stats.unchanged_tickers.bump(1);
        }
        met != 0
    }

    /// Forgets what a message that could not be decoded may have changed.
    #[cold]
    fn forget(&mut self, error: &DecodeError) {
        let info = error.message.map(|message| &self.codec.messages()[usize::from(message)]);
        if info.is_none_or(|info| info.keep) {
            self.kept.forget(Some(self.connection), error.symbol);
        }
        if info.is_none_or(|info| info.closed_by_next) {
            self.candles.forget(Some(self.connection), error.symbol);
        }
    }

    /// Reports that trades were taken for repeated ones, as the venue's ids have restarted. Of other kinds, an event
    /// replaces those that were missed.
    #[cold]
    fn missed(&mut self, origin: Origin) -> Result<u32, NotDispatched> {
        if origin.kind != Kind::Trade {
            return Ok(0);
        }
        self.parts(origin.symbol, origin.venue_time).2.stale(StaleReason::IdsRestarted)
    }

    /// Makes the books stale that miss the changes of a message that could not be decoded.
    #[cold]
    fn lose_books(&mut self, error: &DecodeError) -> Result<u32, NotDispatched> {
        let info = error.message.map(|message| &self.codec.messages()[usize::from(message)]);
        // A requested snapshot is not part of the stream.
        let (assembled, partial) = match info.map(|info| (info.role, info.snapshot)) {
            None => (true, true),
            Some((Role::BookDiff, _) | (Role::BookSnapshot, Some(SnapshotMode::Replaces))) => (true, false),
            Some((Role::BookSnapshot, Some(SnapshotMode::Window))) => (false, true),
            Some(_) => return Ok(0),
        };
        let is_of = |symbol| error.symbol.is_none_or(|other| other == symbol);
        // Of numbered books, the next diff shows whether one was lost in text that is not a message of the codec.
        let is_known = info.is_some() || error.symbol.is_some();
        let is_lost =
            |symbol, books: &SymbolBooks| assembled && is_of(symbol) && (is_known || books.is_unnumbered());
        self.invalidate(StaleReason::Undecoded, is_lost, |symbol| partial && is_of(symbol))
    }

    /// Makes the books stale that this connection has, of the symbols for which `assembled` and `partial` hold.
    #[cold]
    fn invalidate(
        &mut self,
        reason: StaleReason,
        assembled: impl Fn(SymbolId, &SymbolBooks) -> bool,
        partial: impl Fn(SymbolId) -> bool,
    ) -> Result<u32, NotDispatched> {
        let (connection, received_time) = (self.connection, self.received_time);
        let books = self.books.iter_mut().filter(|(symbol, books)| assembled(**symbol, books));
        let partials = self.partials.iter_mut().filter(|(symbol, _)| partial(**symbol));
        let mut events = 0;
        for (&symbol, books) in books.chain(partials) {
            let (publisher, stats, owed) = (&mut *self.publisher, self.stats, &mut *self.owed);
            let mut to = BookEvents::new(publisher, stats, owed, symbol, None, received_time);
            to.unit = self.contracts.unit(symbol);
            events += books.invalidate(connection, reason, &mut to)?;
        }
        Ok(events)
    }

    /// Returns the books, their checks, and where the events of a symbol go, for use beside each other.
    #[inline]
    fn parts(
        &mut self,
        symbol: SymbolId,
        venue_time: Option<Nanos>,
    ) -> (&mut Books, &mut Checks, BookEvents<'_>) {
        let (publisher, stats, owed) = (&mut *self.publisher, self.stats, &mut *self.owed);
        let received_time = self.received_time;
        let unit = if self.in_contracts { self.contracts.count(symbol) } else { Unit::Base };
        let mut to = BookEvents::new(publisher, stats, owed, symbol, venue_time, received_time);
        to.unit = unit;
        (self.books, self.checks, to)
    }

    /// Counts a message that could not be used, and returns the number of its events.
    #[cold]
    fn bad(&mut self, kind: &'static str, text: String) -> u32 {
        self.stats.bad(kind, text, self.received_time, self.frame);
        self.outcome.bad += 1;
        0
    }

    fn diff(
        &mut self,
        message: u16,
        symbol: SymbolId,
        venue_time: Option<Nanos>,
        ids: BookIds,
        levels: &Levels,
        checksum: Option<u32>,
    ) -> Result<u32, NotDispatched> {
        let ended = self.end_partial(symbol)?;
        let (connection, codec) = (self.connection, self.codec);
        let info = &codec.messages()[usize::from(message)];
        let (books, checks, mut to) = self.parts(symbol, venue_time);
        let mut check = checks.of(to.stats, info, symbol, levels, checksum);
        let books = books.entry(symbol).or_default();
        let events = books.diff(connection, ids, levels, &mut check, &mut to)?;
        self.check_unit(symbol);
        Ok(ended + events)
    }

    /// Ends the partial book of a symbol whose book is assembled from now on, and is not good yet.
    #[inline]
    fn end_partial(&mut self, symbol: SymbolId) -> Result<u32, NotDispatched> {
        if self.partials.is_empty() {
            return Ok(0);
        }
        match self.partials.remove(&symbol) {
            Some(partial) if partial.is_good() => self.parts(symbol, None).2.stale(StaleReason::NoSnapshot),
            _ => Ok(0),
        }
    }

    fn snapshot(
        &mut self,
        message: u16,
        symbol: SymbolId,
        venue_time: Option<Nanos>,
        (ids, mode): (BookIds, SnapshotMode),
        levels: &Levels,
        checksum: Option<u32>,
    ) -> Result<u32, NotDispatched> {
        let is_partial = mode == SnapshotMode::Window;
        if is_partial && self.books.get(&symbol).is_some_and(|books| !books.is_empty()) {
            self.stats.partial_books.bump(1);
            return Ok(0);
        }
        let ended = if is_partial { 0 } else { self.end_partial(symbol)? };
        let (connection, codec) = (self.connection, self.codec);
        let info = &codec.messages()[usize::from(message)];
        let (publisher, stats, owed) = (&mut *self.publisher, self.stats, &mut *self.owed);
        let mut to = BookEvents::new(publisher, stats, owed, symbol, venue_time, self.received_time);
        let mut check = self.checks.of(stats, info, symbol, levels, checksum);
        let books = if is_partial { &mut *self.partials } else { &mut *self.books };
        let books = books.entry(symbol).or_default();
        if self.in_contracts {
            to.unit = self.contracts.count(symbol);
        }
        let events = books.snapshot(connection, ids, mode, levels, &mut check, &mut to)?;
        self.check_unit(symbol);
        Ok(ended + events)
    }
}
