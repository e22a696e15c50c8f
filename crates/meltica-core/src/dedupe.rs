//! Detection of repeated venue messages.

use crate::event::{Nanos, VenueId};
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
    /// Returns the highest id.
    #[inline]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

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

/// A window of growing ids that notices a restart of the venue's numbers.
///
/// Ids that are not above the window, and whose times are later than that of the highest id, are new ones after
/// [`LATER_RUN`] in a row. Without times, [`STALE_RUN`] ids in a row below the window are.
#[derive(Debug, Clone, Default)]
pub struct Restarting {
    window: Monotonic,
    /// The time of the highest id.
    time: Option<Nanos>,
    /// The length of the current run.
    run: u32,
}

/// The ids in a row with later times that show a restart.
pub const LATER_RUN: u32 = 3;
/// The ids in a row without times that show a restart.
pub const STALE_RUN: u32 = 64;

impl Restarting {
    /// Looks up the id of a message with a venue time and adds it to the window. Returns its status, and whether the
    /// numbers have restarted with it.
    #[inline]
    pub fn check(&mut self, id: u64, time: Option<Nanos>) -> (IdStatus, bool) {
        let highest = self.window.highest();
        let status = self.window.check(id);
        if status == IdStatus::New {
            if highest.is_none_or(|highest| id > highest) {
                self.time = time;
            }
            self.run = 0;
            return (status, false);
        }
        let has_restarted = self.repeated(status, time);
        if !has_restarted {
            return (status, false);
        }
        *self = Self { time, ..Self::default() };
        (self.window.check(id), true)
    }

    /// Counts an id that is not new. Returns whether the numbers have restarted.
    #[cold]
    fn repeated(&mut self, status: IdStatus, time: Option<Nanos>) -> bool {
        let needed = match (time, self.time) {
            (Some(time), Some(newest)) if time > newest => LATER_RUN,
            (None, _) | (_, None) if status == IdStatus::Stale => STALE_RUN,
            _ => {
                self.run = 0;
                return false;
            }
        };
        self.run += 1;
        self.run >= needed
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

    /// Returns how many of the messages are delivered, and in how many the numbers have restarted.
    fn run(window: &mut Restarting, messages: impl Iterator<Item = (u64, Option<Nanos>)>) -> (usize, usize) {
        let checked: Vec<_> = messages.map(|(id, time)| window.check(id, time)).collect();
        let count = |is: fn(&(IdStatus, bool)) -> bool| checked.iter().filter(|one| is(one)).count();
        (count(|(status, _)| *status == IdStatus::New), count(|(_, restarted)| *restarted))
    }

    #[test]
    fn ids_that_restart_are_new_after_three_with_later_times() {
        for (start, n) in [(100_000, 50), (1, 3000)] {
            let mut window = Restarting::default();
            let at = |offset| move |id| (id, Some(id as Nanos + offset));
            assert_eq!(run(&mut window, (start..start + n).map(at(0))), (n as usize, 0));
            assert_eq!(run(&mut window, (start..start + n).map(at(0))), (0, 0), "a late second line");
            assert_eq!(run(&mut window, (1..=n).map(at(1_000_000))), (n as usize - 2, 1));
        }
    }

    #[test]
    fn without_times_ids_that_restart_are_new_after_sixty_four() {
        let mut window = Restarting::default();
        let untimed = |id| (id, None);
        assert_eq!(run(&mut window, (100_000..101_000).map(untimed)), (1000, 0));
        assert_eq!(run(&mut window, (100_000..101_000).map(untimed)), (0, 0), "a late second line");
        assert_eq!(run(&mut window, (1..=100).map(untimed)), (37, 1));
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
