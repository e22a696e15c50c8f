//! Counters and latency histograms on atomics, the source of metrics, REST and summaries.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that can be read at any time.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`, from any thread.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds `n` without a locked instruction. Only one thread may write the counter.
    #[inline]
    pub fn bump(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + n, Ordering::Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

const SUB_BITS: u32 = 3;
const SUBS: usize = 1 << SUB_BITS;
const BUCKETS: usize = (64 - SUB_BITS as usize + 1) * SUBS;

/// The bounds of a coarse histogram, ns: the powers of two from about 1 us to 8.6 s.
pub const BOUNDS: [u64; 24] = {
    let (mut bounds, mut i) = ([0; 24], 0);
    while i < bounds.len() {
        bounds[i] = 1 << (10 + i);
        i += 1;
    }
    bounds
};

/// A log-linear histogram of nanoseconds: eight buckets per power of two, so quantiles are exact within 12.5 %. Only
/// one thread may write.
///
/// The buckets are part of the value: what its owner writes for each event lies in few pages of memory.
#[derive(Debug)]
#[repr(C)]
pub struct Histogram {
    sum: AtomicU64,
    max: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    if value < SUBS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - SUB_BITS;
    ((shift as usize + 1) << SUB_BITS) + ((value >> shift) as usize & (SUBS - 1))
}

/// Returns the largest value of `bucket`.
fn upper_bound(bucket: usize) -> u64 {
    if bucket < SUBS {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BITS) - 1;
    let low = ((SUBS + (bucket & (SUBS - 1))) as u64) << shift;
    low + ((1u64 << shift) - 1)
}

impl Histogram {
    /// Counts `value`.
    #[inline]
    pub fn record(&self, value: u64) {
        let bump =
            |cell: &AtomicU64, n| cell.store(cell.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        bump(&self.buckets[bucket(value)], 1);
        bump(&self.sum, value);
        if value > self.max.load(Ordering::Relaxed) {
            self.max.store(value, Ordering::Relaxed);
        }
    }

    /// Returns the number of values below each of [`BOUNDS`], the sum of all values, and their number. The counts are
    /// exact, as buckets begin at powers of two.
    pub fn cumulative(&self) -> ([u64; BOUNDS.len()], u64, u64) {
        let mut counts = [0; BOUNDS.len()];
        let (mut below, mut at) = (0, 0);
        for (count, bound) in counts.iter_mut().zip(BOUNDS) {
            let end = bucket(bound);
            below += self.buckets[at..end].iter().map(|cell| cell.load(Ordering::Relaxed)).sum::<u64>();
            at = end;
            *count = below;
        }
        let rest: u64 = self.buckets[at..].iter().map(|cell| cell.load(Ordering::Relaxed)).sum();
        (counts, self.sum.load(Ordering::Relaxed), below + rest)
    }

    /// Summarises the histogram.
    pub fn summary(&self) -> Summary {
        Summary::of(std::iter::once(self))
    }
}

/// The bounds of the numbers of queues: the powers of two up to 512.
pub const FANOUT_BOUNDS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// How many queues events went to. Only one thread at a time may write.
#[derive(Debug, Default)]
pub struct Fanout {
    cells: [Counter; FANOUT_BOUNDS.len() + 1],
    sum: Counter,
}

impl Fanout {
    /// Counts an event of `queues`, of which there is at least one.
    #[inline]
    pub fn record(&self, queues: usize) {
        let cell = usize::BITS - (queues - 1).leading_zeros();
        self.cells[(cell as usize).min(FANOUT_BOUNDS.len())].bump(1);
        self.sum.bump(queues as u64);
    }

    /// Returns the number of events of at most so many queues as each of [`FANOUT_BOUNDS`], the sum of all queues, and
    /// the number of events.
    pub fn cumulative(&self) -> ([u64; FANOUT_BOUNDS.len()], u64, u64) {
        let (mut counts, mut below) = ([0; FANOUT_BOUNDS.len()], 0);
        for (count, cell) in counts.iter_mut().zip(&self.cells) {
            below += cell.get();
            *count = below;
        }
        (counts, self.sum.get(), below + self.cells[FANOUT_BOUNDS.len()].get())
    }
}

/// A summary of a histogram, ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The largest value.
    pub max: u64,
}

impl Summary {
    /// Summarises several histograms as one.
    pub fn of<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Self {
        let mut buckets = vec![0u64; BUCKETS];
        let mut summary = Self::default();
        for histogram in histograms {
            for (total, cell) in buckets.iter_mut().zip(&histogram.buckets) {
                *total += cell.load(Ordering::Relaxed);
            }
            summary.sum = summary.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
            summary.max = summary.max.max(histogram.max.load(Ordering::Relaxed));
        }
        summary.count = buckets.iter().sum();
        let quantile = |share: f64| {
            let rank = (share * summary.count as f64).ceil().max(1.0) as u64;
            let mut cumulative = 0;
            for (i, n) in buckets.iter().enumerate() {
                cumulative += n;
                if cumulative >= rank {
                    return upper_bound(i).min(summary.max);
                }
            }
            0
        };
        summary.p50 = quantile(0.5);
        summary.p99 = quantile(0.99);
        summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prop_bucket_bounds(value: u64) {
            let b = bucket(value);
            prop_assert!(b < BUCKETS);
            prop_assert!(value <= upper_bound(b));
            prop_assert!(b == 0 || value > upper_bound(b - 1));
        }

        #[test]
        fn prop_cumulative_counts_are_exact(values in proptest::collection::vec(0u64..20_000_000_000, 0..300)) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record(*value);
            }
            let (counts, sum, total) = histogram.cumulative();
            for (count, bound) in counts.into_iter().zip(BOUNDS) {
                prop_assert_eq!(count, values.iter().filter(|value| **value < bound).count() as u64);
            }
            prop_assert_eq!(sum, values.iter().sum::<u64>());
            prop_assert_eq!(total, values.len() as u64);
        }

        #[test]
        fn prop_fanouts_are_exact(values in proptest::collection::vec(1usize..2000, 0..100)) {
            let fanout = Fanout::default();
            for value in &values {
                fanout.record(*value);
            }
            let (counts, sum, total) = fanout.cumulative();
            for (count, bound) in counts.into_iter().zip(FANOUT_BOUNDS) {
                prop_assert_eq!(count, values.iter().filter(|value| **value as u64 <= bound).count() as u64);
            }
            prop_assert_eq!((sum, total), (values.iter().sum::<usize>() as u64, values.len() as u64));
        }

        #[test]
        fn prop_quantiles_are_within_an_eighth(mut values in proptest::collection::vec(0u64..10_000_000_000, 1..300)) {
            let histogram = Histogram::default();
            for v in &values {
                histogram.record(*v);
            }
            values.sort_unstable();
            let summary = histogram.summary();
            let exact = |share: f64| values[((share * values.len() as f64).ceil() as usize).max(1) - 1];
            for (estimate, exact) in [(summary.p50, exact(0.5)), (summary.p99, exact(0.99))] {
                prop_assert!(estimate >= exact && estimate as f64 <= exact as f64 * 1.125 + 1.0, "{estimate} for {exact}");
            }
            prop_assert_eq!(summary.max, values[values.len() - 1]);
            prop_assert_eq!(summary.count, values.len() as u64);
        }
    }
}
