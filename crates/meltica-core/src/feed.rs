//! A provider's feed, from frames to dispatched events: it decodes, assembles books, de-duplicates and publishes.
//!
//! # Cost
//! The route of a message is looked up once its kind and symbol are decoded, before its numbers are converted.

mod books;
mod candles;
mod checks;
mod connections;
mod contracts;
mod events;
mod frame;
mod kept;
mod lead;
mod notices;
mod numbers;
mod outcome;
mod restart;
mod source;
mod stats;
mod windows;

use crate::clock;
use crate::codec::{Codec, Decoder, MAX_FRAME};
use crate::dispatch::{NotDispatched, Origin, Publisher};
use crate::event::{Book, Event, Kind, Nanos, Payload, StaleReason};
use crate::names::SymbolId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use books::{Books, SymbolBooks};
use candles::Candles;
use checks::Checks;
use connections::Connections;
use contracts::Contracts;
use events::{BookEvents, publish, publish_book};
use frame::FrameSink;
use kept::KeptTickers;
use notices::OwedNotices;
pub use outcome::FeedOutcome;
pub use source::Source;
pub use stats::{BadFrame, FeedStats};
use windows::Windows;

/// Decodes the frames of one provider and dispatches their events.
pub struct Feed {
    publisher: Publisher,
    decoder: Option<Decoder>,
    books: Books,
    partials: Books,
    connections: Connections,
    /// The number of market data events of each symbol at the last restart.
    published: BTreeMap<SymbolId, u64>,
    windows: Windows,
    kept: KeptTickers,
    candles: Candles,
    checks: Checks,
    contracts: Contracts,
    owed: OwedNotices,
    stats: Arc<FeedStats>,
    /// Whether the venue's times are the received times of messages, and the latest of them.
    by_venue_time: bool,
    clock: Nanos,
    /// The categories of connections other than the first one of the codec.
    categories: HashMap<u32, usize>,
}

impl Feed {
    /// Returns a feed of `publisher` that decodes frames with `codec`, if given.
    pub fn new(publisher: Publisher, codec: Option<Arc<Codec>>) -> Self {
        let stats = Arc::new(FeedStats::new(publisher.provider()));
        Self::counting(publisher, codec, stats)
    }

    /// Returns a feed that continues to count in `stats`, which no other feed may write from then on.
    pub fn counting(publisher: Publisher, codec: Option<Arc<Codec>>, stats: Arc<FeedStats>) -> Self {
        let decoder = codec.map(|codec| Decoder::new(codec, publisher.provider()));
        Self {
            publisher,
            decoder,
            books: Books::new(),
            partials: Books::new(),
            connections: Connections::default(),
            published: BTreeMap::new(),
            windows: Windows::default(),
            kept: KeptTickers::default(),
            candles: Candles::default(),
            checks: Checks::default(),
            contracts: Contracts::default(),
            owed: OwedNotices::default(),
            stats,
            by_venue_time: false,
            clock: 0,
            categories: HashMap::new(),
        }
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Arc<FeedStats> {
        &self.stats
    }

    /// Returns the publisher, for events that are not decoded from frames.
    pub fn publisher(&mut self) -> &mut Publisher {
        &mut self.publisher
    }

    /// Decodes one frame of a stream with a single connection, as [`Self::frame_from`] does.
    ///
    /// # Errors
    /// As [`Self::frame_from`].
    #[inline]
    pub fn frame(&mut self, frame: &[u8], received_time: Nanos) -> Result<FeedOutcome, NotDispatched> {
        self.frame_from(Source::Stream, 0, frame, received_time)
    }

    /// Decodes one frame of a connection, dispatches its events and returns the outcome. A bad frame is counted, and its beginning is
    /// kept; it is never an error.
    ///
    /// # Errors
    /// [`NotDispatched::Stopped`] when a wait for a slow reader was stopped.
    pub fn frame_from(
        &mut self,
        source: Source,
        connection: u32,
        frame: &[u8],
        received_time: Nanos,
    ) -> Result<FeedOutcome, NotDispatched> {
        self.publish_owed()?;
        let started = clock::ticks();
        self.stats.frames.bump(1);
        self.stats.bytes.bump(frame.len() as u64);
        let Some(decoder) = &mut self.decoder else {
            self.stats.bad("no_codec", "the provider has no codec".into(), received_time, frame);
            return Ok(FeedOutcome { bad: 1, ..FeedOutcome::default() });
        };
        let codec = Arc::clone(decoder.codec());
        let category = self.categories.get(&connection).copied().unwrap_or_default();
        if !self.categories.is_empty() {
            decoder.set_category(category);
        }
        let unknown_enums = decoder.unknown_enums();
        if self.connections.select(connection) {
            self.windows.open(received_time);
        }
        let mut sink = FrameSink {
            codec: &codec,
            publisher: &mut self.publisher,
            books: &mut self.books,
            partials: &mut self.partials,
            connections: &mut self.connections,
            connection,
            windows: &mut self.windows,
            kept: &mut self.kept,
            candles: &mut self.candles,
            checks: &mut self.checks,
            contracts: &mut self.contracts,
            in_contracts: codec.counts_contracts(category),
            owed: &mut self.owed,
            stats: &self.stats,
            source,
            only_symbol: decoder.only_symbol(),
            frame,
            received_time,
            by_venue_time: self.by_venue_time,
            wanted: None,
            outcome: FeedOutcome::default(),
            failed: None,
        };
        decoder.decode(frame, &mut sink);
        let FrameSink { outcome, failed, received_time, .. } = sink;
        self.clock = received_time;
        self.stats.unknown_enums.bump(decoder.unknown_enums() - unknown_enums);
        if let Some(error) = failed {
            return Err(error);
        }
        if outcome.events > 0 {
            self.stats.decode.record(clock::elapsed_ns(started, self.publisher.last_ticks()));
        }
        Ok(outcome)
    }

    /// Decodes one frame that was recorded without a receive time: those of its messages are the venue's times. A message
    /// without one has the time of the message before it.
    ///
    /// # Errors
    /// As [`Self::frame_from`].
    pub fn frame_by_venue_time(
        &mut self,
        source: Source,
        connection: u32,
        frame: &[u8],
    ) -> Result<FeedOutcome, NotDispatched> {
        self.by_venue_time = true;
        let outcome = self.frame_from(source, connection, frame, self.clock);
        self.by_venue_time = false;
        outcome
    }

    /// Returns the received time of the last message.
    pub fn clock(&self) -> Nanos {
        self.clock
    }

    /// Returns the names of the codec's categories.
    pub fn categories(&self) -> Vec<String> {
        self.decoder
            .as_ref()
            .map_or_else(Vec::new, |decoder| decoder.codec().categories().map(str::to_owned).collect())
    }

    /// Returns the maximum size of a frame, that of the codec.
    pub fn max_frame(&self) -> usize {
        self.decoder.as_ref().map_or(MAX_FRAME, |decoder| decoder.codec().max_frame())
    }

    /// Returns the category with which the name of a connection begins, as [`Codec::category_of`] does.
    pub fn category_of(&self, connection: &str) -> Option<usize> {
        self.decoder.as_ref()?.codec().category_of(connection)
    }

    /// Sets the category of a connection, an index of [`Codec::categories`]; it is 0 until then.
    pub fn set_category(&mut self, connection: u32, category: usize) {
        self.categories.insert(connection, category);
    }

    /// Adds symbols of the venue's instrument list to a category, as [`Decoder::list_symbols`] does.
    ///
    /// # Errors
    /// The first canonical symbol that is not one.
    pub fn list_symbols(
        &mut self,
        category: usize,
        symbols: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), String> {
        self.decoder.as_mut().map_or(Ok(()), |decoder| decoder.list_symbols(category, symbols))
    }

    /// Returns whether frames of the connection were received since it was lost.
    pub fn is_open(&self, connection: u32) -> bool {
        self.connections.is_open(connection)
    }

    /// Returns the switch of the verification of checksums, which is on at first. Any thread may turn it, also while the
    /// feed is in use; it applies from the next checksum on.
    pub fn checksum_switch(&self) -> &Arc<AtomicBool> {
        &self.checks.enabled
    }

    /// Forgets the ids of messages, before the same ones are delivered again on purpose.
    pub fn forget_ids(&mut self) {
        self.windows.clear();
    }

    /// Publishes the notices that were not dispatched, which come before every later market event.
    #[inline]
    fn publish_owed(&mut self) -> Result<(), NotDispatched> {
        if !self.owed.is_empty() {
            self.owed.publish(&mut self.publisher, &self.stats)?;
        }
        Ok(())
    }

    /// Publishes a notice that was not decoded from a frame. Returns whether it was dispatched.
    fn publish_notice(&mut self, origin: Origin, payload: &Payload) -> Result<bool, NotDispatched> {
        let Origin { symbol, venue_time, received_time, .. } = origin;
        let (publisher, stats, owed) = (&mut self.publisher, &self.stats, &mut self.owed);
        let mut to = BookEvents::new(publisher, stats, owed, symbol, venue_time, received_time);
        match payload {
            Payload::MarketStale(reason) => to.stale(*reason).map(|n| n > 0),
            Payload::BookGap(gap) => {
                to.stats.gaps.bump(1);
                to.gap(gap.expected, gap.received).map(|n| n > 0)
            }
            _ => Ok(false),
        }
    }

    /// Publishes an event that was not decoded from a frame. Returns whether it was dispatched.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn publish(&mut self, mut origin: Origin, mut payload: Payload) -> Result<bool, NotDispatched> {
        if origin.kind.is_notice() {
            return self.publish_notice(origin, &payload);
        }
        if let Payload::Instrument(instrument) = &payload {
            self.checks.list(origin.symbol, instrument);
            if self.contracts.list(origin.symbol, instrument) {
                let Origin { symbol, venue_time, received_time, .. } = origin;
                let (publisher, stats, owed) = (&mut self.publisher, &self.stats, &mut self.owed);
                let mut to = BookEvents::new(publisher, stats, owed, symbol, venue_time, received_time);
                contracts::end_size([&mut self.books, &mut self.partials], &mut self.kept, &mut to)?;
            }
        }
        // An event about the account does not depend on what is known of the market.
        if !origin.kind.is_private() {
            self.publish_owed()?;
        }
        let wanted = if let Payload::Extension(extension) = &payload {
            let found = self.publisher.wanted_extension(extension.name());
            found.map(|(wanted, symbol)| {
                origin.symbol = symbol;
                wanted
            })
        } else {
            self.publisher.wanted(origin.kind, origin.symbol)
        };
        publish(&mut self.publisher, &self.stats, wanted, origin, &mut payload).map(|n| n > 0)
    }

    /// Publishes a book that was not assembled by this feed; of a crossed one, only that it is stale. Returns whether it
    /// was dispatched.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn publish_book(&mut self, origin: Origin, book: &Book) -> Result<bool, NotDispatched> {
        if book.is_crossed() {
            let Origin { symbol, venue_time, received_time, .. } = origin;
            let (publisher, stats, owed) = (&mut self.publisher, &self.stats, &mut self.owed);
            let mut to = BookEvents::new(publisher, stats, owed, symbol, venue_time, received_time);
            to.stale(StaleReason::Crossed)?;
            return Ok(false);
        }
        self.publish_book_with(origin, |slot, depth| slot.copy_top(book, depth as usize))
    }

    /// Publishes the payload that `payload` returns, which is called only if the event is routed. Returns whether the
    /// event was dispatched.
    ///
    /// # Errors
    /// As [`Self::frame`].
    #[inline]
    pub fn publish_with(
        &mut self,
        origin: Origin,
        payload: impl FnOnce() -> Payload,
    ) -> Result<bool, NotDispatched> {
        self.publish_owed()?;
        let wanted = self.publisher.wanted(origin.kind, origin.symbol);
        let mut payload = if wanted.is_some() { payload() } else { Payload::Empty };
        publish(&mut self.publisher, &self.stats, wanted, origin, &mut payload).map(|n| n > 0)
    }

    /// Publishes the book that `fill` writes into a slot, given the levels per side, as [`Self::publish_with`] does.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn publish_book_with(
        &mut self,
        origin: Origin,
        fill: impl FnOnce(&mut Book, u32),
    ) -> Result<bool, NotDispatched> {
        self.publish_owed()?;
        publish_book(&mut self.publisher, &self.stats, origin, fill).map(|n| n > 0)
    }

    /// Returns the symbols whose book waits for a snapshot on every connection, and updates their count in the statistics.
    pub fn unsynced(&self) -> Vec<SymbolId> {
        let symbols = self.select(SymbolBooks::needs_snapshot);
        self.stats.unsynced.store(symbols.len() as u64, Ordering::Relaxed);
        symbols
    }

    /// Returns the symbols whose book of a connection waits for a snapshot.
    pub fn unsynced_on(&self, connection: u32) -> Vec<SymbolId> {
        self.select(|books| books.waits(connection))
    }

    fn select(&self, is: impl Fn(&SymbolBooks) -> bool) -> Vec<SymbolId> {
        self.books.iter().filter(|(_, books)| is(books)).map(|(symbol, _)| *symbol).collect()
    }

    /// Returns the canonical symbol of the venue's text on a connection, or `None` if the rule of the codec does not match.
    pub fn canonical(&self, connection: u32, text: &str) -> Option<String> {
        let category = self.categories.get(&connection).copied().unwrap_or_default();
        self.decoder.as_ref()?.codec().canonical(category, text)
    }

    /// Returns the symbols whose book is not good, or refused, and whether it was published before.
    ///
    /// Once a book was published, the loss of its connection explains that it is not good.
    pub fn stale_books(&mut self) -> BTreeMap<&'static str, bool> {
        self.unsynced();
        let published = self.publisher.published(Kind::BookSnapshot);
        let synced: BTreeSet<_> =
            published.filter(|(_, events)| *events > 0).map(|(symbol, _)| symbol).collect();
        let mut stale = BTreeMap::new();
        for (symbol, books) in &self.books {
            let (symbol, was_good) = (*symbol, synced.contains(symbol));
            let is_stale = !(books.is_good() || was_good && books.is_empty());
            if is_stale || !was_good && self.contracts.unit(symbol).refusal(symbol).is_some() {
                stale.insert(symbol.name(), was_good);
            }
        }
        stale
    }

    /// Returns the faults of checksums by symbol: `snapshots` if the last three did not have theirs, as the declared layout
    /// or the scales are wrong; `decimals` if checksums proved other scales than the listed ones.
    pub fn checksum_faults(&self) -> BTreeMap<&'static str, &'static str> {
        let failed = self.select(SymbolBooks::has_checksum_fault);
        let faults = self.checks.scale_faults().map(|symbol| (symbol.name(), "decimals"));
        faults.chain(failed.iter().map(|symbol| (symbol.name(), "snapshots"))).collect()
    }

    /// Returns the symbols with checksums that were not verified, their number, and whether others were verified.
    pub fn unverified(&self) -> BTreeMap<SymbolId, (u64, bool)> {
        self.checks.unverified()
    }

    /// Wakes the readers of the events dispatched since the last call.
    pub fn flush(&mut self) {
        self.publisher.flush();
    }
}

/// An event spans few cache lines, as the cost of a slot depends on its size.
const _: () = assert!(size_of::<Event>() <= 288);

#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used)]
mod tests;
