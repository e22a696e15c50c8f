//! The last diffs of a book, to recognize repetitions.

use crate::codec::{BookIds, Levels};
use crate::event::Nanos;

/// The number of diffs that are recognized.
const WINDOW: usize = 4096;

/// Fingerprints of the last diffs.
///
/// A fingerprint covers the ids, the time and the outermost levels, so that a diff of numbers that have restarted is not
/// mistaken for a repetition of the earlier diff with the same ids.
#[derive(Debug, Default)]
pub(super) struct History {
    prints: Vec<u64>,
    /// The position of the oldest one, once the window is full.
    oldest: usize,
}

impl History {
    pub fn clear(&mut self) {
        self.prints.clear();
        self.oldest = 0;
    }

    #[inline]
    pub fn add(&mut self, print: u64) {
        if self.prints.len() < WINDOW {
            self.prints.push(print);
        } else {
            self.prints[self.oldest] = print;
            self.oldest = (self.oldest + 1) % WINDOW;
        }
    }

    #[cold]
    pub fn contains(&self, print: u64) -> bool {
        self.prints.contains(&print)
    }
}

/// Returns the fingerprint of a diff.
#[inline]
pub(super) fn print(ids: BookIds, venue_time: Option<Nanos>, levels: &Levels) -> u64 {
    #[inline(always)]
    const fn mix(hash: u64, value: u64) -> u64 {
        let product = (hash ^ value) as u128 * 0x9E37_79B9_7F4A_7C15;
        (product >> 64) as u64 ^ product as u64
    }
    let (before, last) = match ids {
        BookIds::Range { first, last, .. } => (first, last),
        BookIds::Chain { last, prev } => (prev.unwrap_or(u64::MAX), last),
        BookIds::Unnumbered => (0, 0),
    };
    let mut hash = mix(0x517C_C1B7_2722_0A95, last);
    hash = mix(mix(hash, before), venue_time.unwrap_or_default().cast_unsigned());
    hash = mix(hash, (levels.bids.len() as u64) << 32 | levels.asks.len() as u64);
    let outermost = [levels.bids.first(), levels.bids.last(), levels.asks.first(), levels.asks.last()];
    for level in outermost.into_iter().flatten() {
        hash = mix(hash, level.price.cast_unsigned().rotate_left(32) ^ level.quantity.cast_unsigned());
    }
    hash
}
