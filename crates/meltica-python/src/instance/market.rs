//! What `self.market` and `self.book` return: the latest market and book of each symbol, as one instance saw them.

use super::Keep;
use crate::book::BookBody;
use crate::convert;
use crate::errors::LambdaError;
use crate::events::{Body, Content, make};
use crate::locks::Lock;
use meltica_core::decimal::Decimal;
use meltica_core::event::{Book, Event, Header, Nanos, Notice, Payload, PriceLevel};
use meltica_core::names::{ProviderId, SymbolId};
use pyo3::prelude::*;
use std::collections::BTreeMap;

/// A kind of event that prices come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Source {
    /// Before the first event.
    #[default]
    Absent,
    Good,
    /// Until the next event of the kind.
    Stale,
}

impl Source {
    fn lose(&mut self) {
        if *self == Self::Good {
            *self = Self::Stale;
        }
    }
}

/// The latest prices of one symbol.
#[derive(Debug, Clone, Copy, Default)]
struct Market {
    last: Option<f64>,
    bid: Option<f64>,
    ask: Option<f64>,
    time: Nanos,
    book: Source,
    ticker: Source,
    /// Until the next event of the feed.
    stale_feed: bool,
}

impl Market {
    fn is_stale(&self) -> bool {
        self.stale_feed || self.is_crossed() || [self.book, self.ticker].contains(&Source::Stale)
    }

    fn is_crossed(&self) -> bool {
        self.bid.zip(self.ask).is_some_and(|(bid, ask)| bid >= ask)
    }
}

type Key = (SymbolId, ProviderId);

/// The latest market and book of each symbol. The host's thread writes; any thread reads.
pub struct MarketView {
    keep: Keep,
    markets: Lock<BTreeMap<Key, Market>>,
    /// Copies, so that a kept book does not hold a slot of the pool.
    books: Lock<BTreeMap<Key, (Header, Book)>>,
}

impl MarketView {
    pub fn new(keep: Keep) -> Self {
        Self { keep, markets: Lock::leaf(BTreeMap::new()), books: Lock::leaf(BTreeMap::new()) }
    }

    /// Updates the view with an event that the instance is about to receive.
    #[inline]
    pub fn observe(&self, event: &Event) {
        if self.keep.book {
            self.observe_book(event);
        }
        if self.keep.market {
            self.observe_market(event);
        }
    }

    fn observe_book(&self, event: &Event) {
        let header = event.header();
        let key = (header.symbol, header.provider);
        match &event.payload {
            Payload::Book(book) => {
                let mut books = self.books.lock();
                let kept = books.entry(key).or_insert_with(|| (*header, Book::default()));
                kept.0 = *header;
                kept.1.copy_top(book, self.keep.depth as usize);
            }
            Payload::MarketStale(_) => drop(self.books.lock().remove(&key)),
            _ => {}
        }
    }

    fn observe_market(&self, event: &Event) {
        let header = event.header();
        let mut markets = self.markets.lock();
        let market = markets.entry((header.symbol, header.provider)).or_default();
        match &event.payload {
            Payload::Trade(trade) => {
                market.last = Some(trade.price.to_f64());
                market.stale_feed = false;
            }
            Payload::Ticker(ticker) => {
                market.last = ticker.last.map(Decimal::to_f64).or(market.last);
                // Bid and ask are those of one event, so that an old price is not paired with a new one.
                (market.bid, market.ask) = (ticker.bid.map(Decimal::to_f64), ticker.ask.map(Decimal::to_f64));
                (market.ticker, market.stale_feed) = (Source::Good, false);
            }
            Payload::Book(book) => {
                let best = |levels: &[PriceLevel]| {
                    levels.first().map(|level| crate::payload::price(book, *level).to_f64())
                };
                (market.bid, market.ask) = (best(&book.bids), best(&book.asks));
                (market.book, market.stale_feed) = (Source::Good, false);
            }
            Payload::MarketStale(reason) => match reason.subject() {
                Notice::StaleFeed => {
                    market.stale_feed = true;
                    market.ticker.lose();
                    market.book.lose();
                }
                Notice::StaleTicker => market.ticker.lose(),
                Notice::StaleTrades => {}
                Notice::StaleBook | Notice::Gap => market.book = Source::Stale,
            },
            _ => return,
        }
        market.time = header.received_time;
    }

    /// Frees the kept books.
    pub fn clear(&self) {
        self.books.lock().clear();
    }

    /// Returns the latest prices of a symbol.
    pub fn market(&self, symbol: &str, provider: Option<&str>) -> PyResult<Option<PyMarketState>> {
        Ok(find(&self.markets.lock(), symbol, provider)?.map(|(_, market)| PyMarketState(*market)))
    }

    /// Returns the latest book of a symbol, unless it is stale.
    pub fn book<'py>(
        &self,
        py: Python<'py>,
        symbol: &str,
        provider: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let kept = find(&self.books.lock(), symbol, provider)?.map(|(_, kept)| kept.clone());
        let Some((header, book)) = kept else { return Ok(None) };
        let body = BookBody::kept(book, self.keep.depth);
        make(py, Content::new(header, Body::Book(body))).map(Some)
    }
}

/// Finds the entry of a symbol: at `provider`, or at the only provider that sends it.
fn find<'a, V>(
    map: &'a BTreeMap<Key, V>,
    symbol: &str,
    provider: Option<&str>,
) -> PyResult<Option<(&'a Key, &'a V)>> {
    // A name without an id has never been received.
    let Some(symbol) = SymbolId::find(&convert::canonical(symbol)) else { return Ok(None) };
    if let Some(provider) = provider {
        return Ok(ProviderId::find(provider).and_then(|provider| map.get_key_value(&(symbol, provider))));
    }
    let mut entries = map.iter().filter(|((of, _), _)| *of == symbol);
    let first = entries.next();
    if let (Some(((_, first), _)), Some(((_, second), _))) = (first, entries.next()) {
        return Err(LambdaError::new_err(format!(
            "symbol {} is ambiguous: {} and {} both send it; pass `provider`",
            symbol.name(),
            first.name(),
            second.name()
        )));
    }
    Ok(first)
}

/// The latest prices of one symbol at one provider, as one instance saw them. Immutable.
///
/// `str()` has only the fields that are present: `bid 60000.01, ask 60000.02, last 60000.02`.
#[pyclass(module = "meltica", name = "MarketState", frozen, immutable_type)]
pub struct PyMarketState(Market);

#[pymethods]
impl PyMarketState {
    /// float | None: Price of the last trade, in quote currency; None before the first.
    #[getter]
    fn last(&self) -> Option<f64> {
        self.0.last
    }

    /// float | None: Best bid price, in quote currency; None before the first, or if the last ticker or book has none.
    #[getter]
    fn bid(&self) -> Option<f64> {
        self.0.bid
    }

    /// float | None: Best ask price, in quote currency; None before the first, or if the last ticker or book has none.
    #[getter]
    fn ask(&self) -> Option<f64> {
        self.0.ask
    }

    /// float | None: `ask - bid`, in quote currency; None if either is None.
    #[getter]
    fn spread(&self) -> Option<f64> {
        Some(self.0.ask? - self.0.bid?)
    }

    /// float | None: `spread` in percent of the bid; None if either price is None or the bid is not positive.
    #[getter]
    fn spread_pct(&self) -> Option<f64> {
        let bid = self.0.bid.filter(|bid| *bid > 0.0)?;
        Some(self.spread()? / bid * 100.0)
    }

    /// int: Received time of the last event that changed the state, in ns since 1970-01-01 UTC.
    #[getter]
    fn time(&self) -> Nanos {
        self.0.time
    }

    /// bool: Whether the symbol's book or ticker is stale, its feed is disconnected or silent, or the bid reaches the ask.
    #[getter]
    fn stale(&self) -> bool {
        self.0.is_stale()
    }

    fn __repr__(&self) -> String {
        let number = |value: Option<f64>| value.map_or_else(|| "None".into(), |v| v.to_string());
        let Market { last, bid, ask, .. } = self.0;
        let stale = self.0.is_stale();
        let (last, bid, ask) = (number(last), number(bid), number(ask));
        format!("MarketState(last={last} bid={bid} ask={ask}{})", if stale { " stale" } else { "" })
    }

    /// The present fields only, for logs: `bid 60000.01, ask 60000.02, last 60000.02`.
    fn __str__(&self) -> String {
        let Market { last, bid, ask, .. } = self.0;
        let stale = self.0.is_stale();
        let parts = [("bid", bid), ("ask", ask), ("last", last)];
        let present = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        present.chain(stale.then(|| "stale".into())).collect::<Vec<_>>().join(", ")
    }
}
