//! Publishes and counts the events of a feed.

use super::FeedStats;
use super::contracts::{Factor, Unit};
use super::notices::OwedNotices;
use crate::book::BookAssembler;
use crate::dispatch::{NotDispatched, Origin, Publisher, Wanted};
use crate::event::{Book, BookGap, Kind, Nanos, Payload, StaleReason};
use crate::names::SymbolId;

pub(super) fn count(
    stats: &FeedStats,
    kind: Kind,
    published: Result<Option<u64>, NotDispatched>,
) -> Result<u32, NotDispatched> {
    match published {
        Ok(Some(_)) => {
            stats.dispatched[kind as usize].bump(1);
            Ok(1)
        }
        Ok(None) => {
            stats.unwanted.bump(1);
            Ok(0)
        }
        Err(NotDispatched::PoolExhausted) => {
            stats.no_slot.bump(1);
            Ok(0)
        }
        Err(error @ (NotDispatched::Stopped | NotDispatched::QueueFull)) => Err(error),
    }
}

#[inline]
pub(super) fn publish(
    publisher: &mut Publisher,
    stats: &FeedStats,
    wanted: Option<Wanted>,
    origin: Origin,
    payload: &mut Payload,
) -> Result<u32, NotDispatched> {
    let Some(wanted) = wanted else {
        stats.unwanted.bump(1);
        return Ok(0);
    };
    count(stats, origin.kind, publisher.publish_from(wanted, origin, payload))
}

pub(super) fn publish_book(
    publisher: &mut Publisher,
    stats: &FeedStats,
    origin: Origin,
    fill: impl FnOnce(&mut Book, u32),
) -> Result<u32, NotDispatched> {
    let Some(wanted) = publisher.wanted(Kind::BookSnapshot, origin.symbol) else {
        stats.unwanted.bump(1);
        return Ok(0);
    };
    count(stats, Kind::BookSnapshot, publisher.publish_book(wanted, origin, fill))
}

/// Publishes the events of one book.
pub(super) struct BookEvents<'f> {
    pub publisher: &'f mut Publisher,
    pub stats: &'f FeedStats,
    pub owed: &'f mut OwedNotices,
    pub symbol: SymbolId,
    pub venue_time: Option<Nanos>,
    pub received_time: Nanos,
    /// The venue's checksum of the next book.
    pub checksum: Option<u32>,
    /// The unit of the quantities of assembled books.
    pub unit: Unit,
}

impl<'f> BookEvents<'f> {
    pub fn new(
        publisher: &'f mut Publisher,
        stats: &'f FeedStats,
        owed: &'f mut OwedNotices,
        symbol: SymbolId,
        venue_time: Option<Nanos>,
        received_time: Nanos,
    ) -> Self {
        let (checksum, unit) = (None, Unit::Base);
        Self { publisher, stats, owed, symbol, venue_time, received_time, checksum, unit }
    }

    fn origin(&self, kind: Kind) -> Origin {
        Origin { kind, symbol: self.symbol, venue_time: self.venue_time, received_time: self.received_time }
    }

    pub fn book(&mut self, book: &BookAssembler, first: u64) -> Result<u32, NotDispatched> {
        let factor = match self.unit {
            Unit::Base => None,
            Unit::Contract(size) => match Factor::new(book, size) {
                Some(factor) => Some(factor),
                None => return self.stale(StaleReason::Overflow),
            },
            Unit::Unknown | Unit::Inverse => return Ok(0),
        };
        let (origin, checksum) = (self.origin(Kind::BookSnapshot), self.checksum.take());
        publish_book(self.publisher, self.stats, origin, |slot, depth| {
            book.copy_top(depth as usize, slot);
            slot.first_update_id = first;
            slot.checksum = checksum;
            if let Some(factor) = factor {
                factor.apply(slot);
            }
        })
    }

    pub fn gap(&mut self, expected: u64, received: u64) -> Result<u32, NotDispatched> {
        let payload = Payload::BookGap(BookGap { expected, received });
        let gap = self.publisher.publish_notice(self.origin(Kind::BookGap), payload);
        // The book is stale even if its readers cannot learn why.
        let stale = self.stale(StaleReason::Gap);
        Ok(count(self.stats, Kind::BookGap, gap)? + stale?)
    }

    pub fn stale(&mut self, reason: StaleReason) -> Result<u32, NotDispatched> {
        self.owed.add(self.stats, self.symbol, reason, (self.venue_time, self.received_time));
        self.owed.publish(self.publisher, self.stats)
    }
}
