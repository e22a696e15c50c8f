//! The latencies of deliveries to one instance, by the provider of the events.

use crate::names::ProviderId;
use crate::stats::Histogram;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Two histograms of the events of one provider. Only one thread may write.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Delivery {
    /// From the begin of a callback to its return.
    pub callback: Histogram,
    /// From dispatched to delivered.
    pub latency: Histogram,
}

#[derive(Debug)]
struct Node {
    provider: ProviderId,
    delivery: Delivery,
    next: Link,
}

type Link = OnceLock<Box<Node>>;

/// The deliveries to one instance. Those of the first provider, usually the only one, are found by one comparison.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Deliveries {
    /// The index of the first provider; 0, that of the empty name, before the first event.
    first: AtomicUsize,
    own: Delivery,
    own_provider: OnceLock<ProviderId>,
    others: Link,
}

impl Deliveries {
    /// Returns the histograms of a provider. Only one thread may call it.
    #[inline]
    pub fn of(&self, provider: ProviderId) -> &Delivery {
        if self.first.load(Ordering::Relaxed) == provider.index() { &self.own } else { self.find(provider) }
    }

    #[cold]
    fn find(&self, provider: ProviderId) -> &Delivery {
        if *self.own_provider.get_or_init(|| provider) == provider {
            self.first.store(provider.index(), Ordering::Relaxed);
            return &self.own;
        }
        let mut link = &self.others;
        loop {
            let (delivery, next) = (Delivery::default(), Link::new());
            let node = link.get_or_init(|| Box::new(Node { provider, delivery, next }));
            if node.provider == provider {
                return &node.delivery;
            }
            link = &node.next;
        }
    }

    /// Returns the histograms of all providers whose events were delivered.
    pub fn all(&self) -> Vec<(ProviderId, &Delivery)> {
        let mut all: Vec<_> =
            self.own_provider.get().map(|provider| (*provider, &self.own)).into_iter().collect();
        let mut link = &self.others;
        while let Some(node) = link.get() {
            all.push((node.provider, &node.delivery));
            link = &node.next;
        }
        all
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_provider_has_its_own_histograms() {
        let deliveries = Deliveries::default();
        assert!(deliveries.all().is_empty());
        let providers = ["by-first", "by-second", "by-third"].map(ProviderId::intern);
        for (times, provider) in providers.iter().enumerate() {
            for _ in 0..=times {
                deliveries.of(*provider).latency.record(5);
                deliveries.of(providers[0]).callback.record(7);
            }
        }
        let counts = |histogram: &Histogram| histogram.summary().count;
        let all = deliveries.all().into_iter();
        let found: Vec<_> = all.map(|(p, d)| (p, counts(&d.latency), counts(&d.callback))).collect();
        assert_eq!(found, [(providers[0], 1, 6), (providers[1], 2, 0), (providers[2], 3, 0)]);
    }
}
