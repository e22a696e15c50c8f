//! The notices of stale market data that a feed owes its readers.
//!
//! A reader that misses one would believe that its book or ticker is valid. So a notice is owed until it is dispatched,
//! and a feed publishes what it owes before its next market event.

use super::FeedStats;
use super::events::count;
use crate::dispatch::{NotDispatched, Origin, Publisher};
use crate::event::{Kind, Nanos, Notice, Payload, StaleReason};
use crate::names::SymbolId;
use std::collections::BTreeMap;

struct Owed {
    reason: StaleReason,
    venue_time: Option<Nanos>,
    received_time: Nanos,
}

/// The notices that were not dispatched, by symbol and subject. The latest reason applies.
#[derive(Default)]
pub(super) struct OwedNotices(BTreeMap<(SymbolId, Notice), Owed>);

impl OwedNotices {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the notice of a symbol that became stale, and counts it.
    pub fn add(
        &mut self,
        stats: &FeedStats,
        symbol: SymbolId,
        reason: StaleReason,
        (venue_time, received_time): (Option<Nanos>, Nanos),
    ) {
        stats.stale[reason as usize].bump(1);
        self.0.insert((symbol, reason.subject()), Owed { reason, venue_time, received_time });
    }

    /// Publishes what is owed. Returns the number of dispatched notices.
    ///
    /// # Errors
    /// [`NotDispatched`] if a notice has to wait; it is still owed, with those after it.
    #[cold]
    pub fn publish(&mut self, publisher: &mut Publisher, stats: &FeedStats) -> Result<u32, NotDispatched> {
        let mut notices = 0;
        let mut failed = None;
        self.0.retain(|&(symbol, _), owed| {
            if failed.is_some() {
                return true;
            }
            let Owed { reason, venue_time, received_time } = *owed;
            let origin = Origin { kind: Kind::MarketStale, symbol, venue_time, received_time };
            let published = publisher.publish_notice(origin, Payload::MarketStale(reason));
            let is_owed = published.is_err();
            match count(stats, Kind::MarketStale, published) {
                Ok(n) => notices += n,
                Err(error) => failed = Some(error),
            }
            is_owed
        });
        failed.map_or(Ok(notices), Err)
    }
}
