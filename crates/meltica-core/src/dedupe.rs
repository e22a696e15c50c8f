//! Detection of repeated venue messages.

use crate::event::VenueId;
use std::collections::{HashSet, VecDeque};

/// The number of ids in a window.
pub const WINDOW: u64 = 4096;

/// The result of looking up an id in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdStatus {
    /// The id is new.
    New,
    /// The id is in the window.
    Duplicate,
    /// The id is older than the window, which cannot decide. Treated as a repetition and counted separately.
    Stale,
}

/// A window of growing ids: a watermark and one bit for each of the last [`WINDOW`] ids.
#[derive(Debug, Clone)]
pub struct Monotonic {
    highest: Option<u64>,
    bits: Box<[u64; (WINDOW / 64) as usize]>,
}

impl Default for Monotonic {
    fn default() -> Self {
        Self { highest: None, bits: Box::new([0; (WINDOW / 64) as usize]) }
    }
}

impl Monotonic {
    /// Looks up `id` and adds it to the window.
    #[inline]
    pub fn check(&mut self, id: u64) -> IdStatus {
        match self.highest {
            Some(highest) if id <= highest => {
                if highest - id >= WINDOW {
                    return IdStatus::Stale;
                }
                if self.bit(id) {
                    return IdStatus::Duplicate;
                }
            }
            Some(highest) => {
                if id - highest >= WINDOW {
                    self.bits.fill(0);
                } else {
                    for skipped in highest + 1..id {
                        self.bits[Self::word(skipped)] &= !(1 << (skipped % 64));
                    }
                }
                self.highest = Some(id);
            }
            None => self.highest = Some(id),
        }
        self.bits[Self::word(id)] |= 1 << (id % 64);
        IdStatus::New
    }

    const fn word(id: u64) -> usize {
        (id % WINDOW / 64) as usize
    }

    fn bit(&self, id: u64) -> bool {
        self.bits[Self::word(id)] >> (id % 64) & 1 == 1
    }
}

/// A window of ids without an order: the last [`WINDOW`] ids, compared in full.
#[derive(Debug, Clone, Default)]
pub struct Opaque {
    ids: HashSet<VenueId, foldhash::fast::RandomState>,
    order: VecDeque<VenueId>,
}

impl Opaque {
    /// Looks up `id` and adds it to the window.
    pub fn check(&mut self, id: VenueId) -> IdStatus {
        if !self.ids.insert(id) {
            return IdStatus::Duplicate;
        }
        if self.order.len() as u64 == WINDOW
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.order.push_back(id);
        IdStatus::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns ids that mostly grow, and also repeat, jump, arrive late or restart.
    fn ids() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            8 => (1i64..4).boxed(),
            2 => (-20i64..=0).boxed(),
            1 => (-6000i64..-4000).boxed(),
            1 => (60i64..5000).boxed(),
            1 => (-200_000i64..-100_000).boxed(),
        ];
        proptest::collection::vec(step, 1..400).prop_map(|steps| {
            let mut at = 150_000i64;
            steps
                .into_iter()
                .map(|step| {
                    at = (at + step).max(0);
                    at as u64
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn prop_monotonic_is_a_set_over_its_window(ids in ids()) {
            let (mut window, mut model, mut highest) = (Monotonic::default(), HashSet::new(), None::<u64>);
            for id in ids {
                let expected = match highest {
                    Some(h) if id + WINDOW <= h => IdStatus::Stale,
                    _ if !model.insert(id) => IdStatus::Duplicate,
                    _ => IdStatus::New,
                };
                highest = highest.max(Some(id));
                prop_assert_eq!(window.check(id), expected, "id {}", id);
            }
        }

        #[test]
        fn prop_opaque_is_a_set_of_the_last_ids(ids in proptest::collection::vec(0u64..6000, 1..300), fill in 0u64..5000) {
            let (mut window, mut model) = (Opaque::default(), VecDeque::new());
            for id in (10_000..10_000 + fill).chain(ids) {
                let expected = if model.contains(&id) { IdStatus::Duplicate } else { IdStatus::New };
                if expected == IdStatus::New {
                    model.push_back(id);
                    if model.len() as u64 > WINDOW {
                        model.pop_front();
                    }
                }
                prop_assert_eq!(window.check(VenueId::Number(id)), expected);
            }
        }
    }
}
