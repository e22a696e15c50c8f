//! The families of providers: what their feeds count.

use super::{Distribution, Family, Row, Text, Type};
use crate::event::{Kind, StaleReason};
use crate::feed::FeedStats;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

type Count = fn(&FeedStats) -> u64;

/// A value of a label, and its count.
type Divided = (&'static str, Count);

/// Name, meaning and count of the counters with the label `provider` alone.
const COUNTERS: [(&str, &str, Count); 15] = [
    ("meltica_eventbus_delivery_errors", "Events lost because the pool was exhausted.", |of| {
        of.no_slot.get()
    }),
    ("meltica_dispatcher_events_unwanted", "Events without a subscriber.", |of| of.unwanted.get()),
    ("meltica_dispatcher_events_duplicate", "Events dropped as duplicates, by id.", |of| of.duplicates.get()),
    (
        "meltica_dispatcher_events_stale",
        "Events dropped because their id is older than the dedupe window.",
        |of| of.stale_ids.get(),
    ),
    ("meltica_provider_frames", "Frames received.", |of| of.frames.get()),
    ("meltica_provider_frame_bytes", "Bytes of frames received.", |of| of.bytes.get()),
    (
        "meltica_provider_messages_ignored",
        "Messages that no codec declaration matches: replies, heartbeats.",
        |of| of.control.get() + of.unmatched.get(),
    ),
    ("meltica_provider_unknown_enums", "Enum values that the codec does not know.", |of| {
        of.unknown_enums.get()
    }),
    ("meltica_provider_book_gaps", "Books resynchronised after a gap in the venue's ids.", |of| {
        of.gaps.get()
    }),
    ("meltica_provider_frame_gaps", "Frames of a connection that were lost, by their numbers.", |of| {
        of.frame_gaps.get()
    }),
    ("meltica_provider_book_takeovers", "Books that another connection publishes from then on.", |of| {
        of.takeovers.get()
    }),
    ("meltica_provider_checksum_faults", "Books whose snapshots fail their checksums.", |of| {
        of.checksum_faults.get()
    }),
    (
        "meltica_provider_scale_faults",
        "Symbols whose checksums have other decimals than the instrument list.",
        |of| of.scale_faults.get(),
    ),
    ("meltica_provider_late_trades", "Missed trades delivered after a reconnect.", |of| of.late.get()),
    ("meltica_provider_crossed_tickers", "Tickers delivered without bid and ask, which crossed.", |of| {
        of.crossed_tickers.get()
    }),
];

/// Name, meaning and count of the gauges.
const GAUGES: [(&str, &str, Count); 2] = [
    ("meltica_provider_books_unsynced", "Books waiting for a snapshot.", |of| {
        of.unsynced.load(Ordering::Relaxed)
    }),
    ("meltica_provider_waiting_bytes", "Size of the book changes that wait for snapshots.", |of| {
        of.waiting_bytes.load(Ordering::Relaxed)
    }),
];

const CHECKSUMS: [Divided; 3] = [
    ("verified", |of| of.checksums_verified.get()),
    ("failed", |of| of.checksums_failed.get()),
    ("unverified", |of| of.checksums_unverified.get()),
];

const RESTARTS: [Divided; 2] = [("ids", |of| of.id_restarts.get()), ("frames", |of| of.frame_restarts.get())];

const UNUSED: [Divided; 12] = [
    ("history", |of| of.history.get()),
    ("unchanged_ticker", |of| of.unchanged_tickers.get()),
    ("bad_candle", |of| of.bad_candles.get()),
    ("repeated_candle", |of| of.repeated_candles.get()),
    ("old_frame", |of| of.old_frames.get()),
    ("window", |of| of.partial_books.get()),
    ("old_book", |of| of.old_books.get()),
    ("old_snapshot", |of| of.old_snapshots.get()),
    ("repeated_diff", |of| of.repeated_diffs.get()),
    ("crossed_diff", |of| of.crossed_diffs.get()),
    ("heartbeat", |of| of.heartbeats.get()),
    ("standby_book", |of| of.standby.get()),
];

/// Name, second label, meaning and counts of the counters with two labels.
const DIVIDED: [(&str, &str, &str, &[Divided]); 3] = [
    ("meltica_provider_checksums", "outcome", "Checksums of books.", &CHECKSUMS),
    ("meltica_provider_number_restarts", "of", "Restarts of a venue's numbers.", &RESTARTS),
    ("meltica_provider_messages_unused", "cause", "Decoded messages without an event.", &UNUSED),
];

/// Returns the families of the feeds of all providers.
pub fn feed_families(feeds: &[Arc<FeedStats>]) -> Vec<Family> {
    // The histogram first: totals that are read later are never lower than the sum of the buckets.
    let mut families = vec![Family::new(
        Type::Histogram,
        "meltica_dispatcher_processing_duration_seconds",
        "Time from receipt of a frame to dispatch of its last event.",
        &["provider"],
        feeds.iter().map(|of| Row::distribution([provider(of)], Distribution::of(&of.decode))).collect(),
    )];
    let single = |count: &Count| {
        feeds.iter().map(|of| Row::number([provider(of)], count(of) as f64)).collect::<Vec<_>>()
    };
    for (kind, table) in [(Type::Counter, &COUNTERS[..]), (Type::Gauge, &GAUGES[..])] {
        for (name, help, count) in table {
            families.push(Family::new(kind, name, help, &["provider"], single(count)));
        }
    }
    for (name, label, help, counts) in DIVIDED {
        let rows = feeds.iter().flat_map(|of| {
            let row = |(value, count): &Divided| two(of, Text::Borrowed(*value), count(of) as f64);
            counts.iter().map(row)
        });
        families.push(Family::new(Type::Counter, name, help, &["provider", label], rows.collect()));
    }
    families.push(by_kind(feeds));
    families.push(stale(feeds));
    families.push(errors(feeds));
    families
}

fn provider(of: &FeedStats) -> Text {
    of.provider.name().into()
}

fn two(of: &FeedStats, value: Text, count: f64) -> Row {
    Row::number([provider(of), value], count)
}

fn by_kind(feeds: &[Arc<FeedStats>]) -> Family {
    let counts =
        feeds.iter().flat_map(|of| Kind::ALL.map(|kind| (of, kind, of.dispatched[kind as usize].get())));
    Family::new(
        Type::Counter,
        "meltica_eventbus_events_published",
        "Events of a provider with at least one subscriber.",
        &["provider", "event_type"],
        counts.filter(|(.., n)| *n > 0).map(|(of, kind, n)| two(of, kind.name().into(), n as f64)).collect(),
    )
}

fn stale(feeds: &[Arc<FeedStats>]) -> Family {
    let counts = feeds
        .iter()
        .flat_map(|of| StaleReason::ALL.map(|reason| (of, reason, of.stale[reason as usize].get())));
    Family::new(
        Type::Counter,
        "meltica_provider_books_stale",
        "Books that became stale.",
        &["provider", "reason"],
        counts
            .filter(|(.., n)| *n > 0)
            .map(|(of, reason, n)| two(of, reason.name().into(), n as f64))
            .collect(),
    )
}

fn errors(feeds: &[Arc<FeedStats>]) -> Family {
    let mut rows = Vec::new();
    for of in feeds {
        let errors = of.errors.lock().unwrap_or_else(PoisonError::into_inner);
        rows.extend(errors.iter().map(|(kind, n)| two(of, Text::Borrowed(kind), *n as f64)));
    }
    Family::new(
        Type::Counter,
        "meltica_provider_errors",
        "Frames that could not be decoded.",
        &["provider", "error"],
        rows,
    )
}
