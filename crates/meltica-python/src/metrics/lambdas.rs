//! The families of instances: what their hosts count.

use crate::instance::InstanceShared;
use meltica_core::deliveries::Delivery;
use meltica_core::event::Kind;
use meltica_core::metrics::{Distribution, Family, Row, Text, Type};
use meltica_core::stats::Histogram;
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Lambdas = [(String, Arc<InstanceShared>)];
type Count = fn(&InstanceShared) -> f64;
type KindCount = fn(&InstanceShared, usize) -> u64;

const COUNTERS: [(&str, &str, Count); 5] = [
    ("meltica_lambda_callback_errors", "Callbacks that raised.", |of| of.stats.errors.get() as f64),
    ("meltica_lambda_slow_callbacks", "Callbacks that took longer than slowCallback.", |of| {
        of.stats.slow.get() as f64
    }),
    ("meltica_lambda_events_emitted", "Extension events that a lambda emitted.", |of| {
        of.stats.emitted.get() as f64
    }),
    ("meltica_lambda_posts_discarded", "Functions that were posted to a lambda and not called.", |of| {
        of.stats.discarded_posts.get() as f64
    }),
    ("meltica_lambda_timer_beats_skipped", "Beats of timers that jumps of a clock skipped.", |of| {
        of.stats.skipped_beats.get() as f64
    }),
];

const GAUGES: [(&str, &str, Count); 4] = [
    ("meltica_lambda_in_callback_seconds", "Duration of the running callback, 0 if none is running.", |of| {
        of.host.in_callback_ns(of.number) as f64 / 1e9
    }),
    (
        "meltica_lambda_symbols_left_out",
        "Symbols that a lambda does not receive, because its queue has no room for them.",
        |of| of.routes.lock().as_ref().map_or(0, |routes| routes.left_out_symbols()) as f64,
    ),
    (
        "meltica_lambda_queue_events",
        "Events that wait in the queue of a lambda, without conflated kinds.",
        |of| of.routes.lock().as_ref().map_or(0, |routes| routes.waiting()) as f64,
    ),
    (
        "meltica_lambda_backlog_events",
        "Events dispatched since the last one that the host of a lambda handled.",
        |of| {
            let waits = of.routes.lock().as_ref().is_some_and(|routes| routes.has_waiting());
            of.host.backlog(waits) as f64
        },
    ),
];

const BY_KIND: [(&str, &str, KindCount); 3] = [
    ("meltica_lambda_events_delivered", "Events delivered to a lambda.", |of, kind| {
        of.stats.delivered[kind].get()
    }),
    (
        "meltica_lambda_events_conflated",
        "Queued events replaced by a later one of the same symbol.",
        |of, kind| of.stats.conflated[kind].load(Ordering::Relaxed),
    ),
    ("meltica_lambda_events_dropped", "Events dropped from a full queue.", |of, kind| {
        of.stats.dropped[kind].load(Ordering::Relaxed)
    }),
];

/// Returns the families of instances by their ids.
pub fn lambda_families(lambdas: &Lambdas) -> Vec<Family> {
    // The histograms first: totals that are read later are never lower than the sum of the buckets.
    let mut families = vec![
        histogram(
            lambdas,
            "meltica_lambda_latency_seconds",
            "Time from the dispatch of an event to its delivery.",
            |of| &of.latency,
        ),
        histogram(lambdas, "meltica_lambda_callback_duration_seconds", "Duration of callbacks.", |of| {
            &of.callback
        }),
    ];
    for (kind, table) in [(Type::Counter, &COUNTERS[..]), (Type::Gauge, &GAUGES[..])] {
        for (name, help, count) in table {
            let rows = lambdas.iter().map(|(id, of)| Row::number([id.clone().into()], count(of)));
            families.push(Family::new(kind, name, help, &["lambda"], rows.collect()));
        }
    }
    for (name, help, count) in BY_KIND {
        families.push(by_kind(lambdas, name, help, count));
    }
    families.extend(reserved(lambdas));
    families
}

fn histogram(
    lambdas: &Lambdas,
    name: &'static str,
    help: &'static str,
    of: fn(&Delivery) -> &Histogram,
) -> Family {
    let mut rows = Vec::new();
    for (id, instance) in lambdas {
        for (provider, delivery) in instance.stats.deliveries.all() {
            let labels: [Text; 2] = [id.clone().into(), provider.name().into()];
            rows.push(Row::distribution(labels, Distribution::of(of(delivery))));
        }
    }
    Family::new(Type::Histogram, name, help, &["lambda", "provider"], rows)
}

fn by_kind(lambdas: &Lambdas, name: &'static str, help: &'static str, count: KindCount) -> Family {
    let counts =
        lambdas.iter().flat_map(|(id, of)| Kind::ALL.map(|kind| (id, kind.name(), count(of, kind as usize))));
    let row = |(id, kind, n): (&String, &'static str, u64)| {
        Row::number([id.clone().into(), Text::Borrowed(kind)], n as f64)
    };
    let rows = counts.filter(|(.., n)| *n > 0).map(row).collect();
    Family::new(Type::Counter, name, help, &["lambda", "event_type"], rows)
}

/// What the queues of instances have reserved of the pools.
fn reserved(lambdas: &Lambdas) -> [Family; 2] {
    let (mut slots, mut bytes) = (Vec::new(), Vec::new());
    for (id, of) in lambdas {
        let claim = of.routes.lock().as_ref().map(|routes| routes.claim()).unwrap_or_default();
        for (pool, n) in [("event", claim.events), ("book", claim.books.iter().sum())] {
            slots.push(Row::number([id.clone().into(), pool.into()], n as f64));
        }
        bytes.push(Row::number([id.clone().into()], claim.bytes() as f64));
    }
    [
        Family::new(
            Type::Gauge,
            "meltica_lambda_reserved_slots",
            "Slots of the pools that the queue of a lambda reserves.",
            &["lambda", "pool_name"],
            slots,
        ),
        Family::new(
            Type::Gauge,
            "meltica_lambda_reserved_bytes",
            "Memory that the queue of a lambda reserves.",
            &["lambda"],
            bytes,
        ),
    ]
}
