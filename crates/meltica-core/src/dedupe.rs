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
///
/// An id that is far above the window moves it only once another one confirms it, so that a single wrong id costs nothing:
/// of two ids that are, the lower one becomes the watermark.
#[derive(Debug, Clone)]
pub struct Monotonic {
    highest: Option<u64>,
    /// The highest id far above the window; 0 if none.
    far: u64,
    bits: Box<[u64; (WINDOW / 64) as usize]>,
}

impl Default for Monotonic {
    fn default() -> Self {
        Self { highest: None, far: 0, bits: Box::new([0; (WINDOW / 64) as usize]) }
    }
}

impl Monotonic {
    /// Returns the watermark.
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
                    return self.jump(id);
                }
                for skipped in highest + 1..id {
                    self.bits[Self::word(skipped)] &= !(1 << (skipped % 64));
                }
                self.highest = Some(id);
                if self.far > highest && self.far <= id {
                    return self.pass(id);
                }
            }
            None => self.highest = Some(id),
        }
        self.bits[Self::word(id)] |= 1 << (id % 64);
        IdStatus::New
    }

    /// Takes an id that is far above the window.
    #[cold]
    fn jump(&mut self, id: u64) -> IdStatus {
        if id == self.far {
            return IdStatus::Duplicate;
        }
        let (low, high) = (id.min(self.far), id.max(self.far));
        self.far = high;
        if low > 0 {
            self.bits.fill(0);
            self.highest = Some(low);
            self.bits[Self::word(low)] |= 1 << (low % 64);
            if high - low < WINDOW {
                self.far = 0;
                self.check(high);
            }
        }
        IdStatus::New
    }

    /// Takes an id with which the window reaches the one that was far above it.
    #[cold]
    fn pass(&mut self, id: u64) -> IdStatus {
        let far = std::mem::take(&mut self.far);
        for known in [far, id] {
            self.bits[Self::word(known)] |= 1 << (known % 64);
        }
        if far == id {
            return IdStatus::Duplicate;
        }
        IdStatus::New
    }

    const fn word(id: u64) -> usize {
        (id % WINDOW / 64) as usize
    }

    /// Returns whether the id is in the window.
    fn contains(&self, id: u64) -> bool {
        self.highest.is_some_and(|highest| id <= highest && highest - id < WINDOW && self.bit(id))
            || self.far > 0 && self.far == id
    }

    fn bit(&self, id: u64) -> bool {
        self.bits[Self::word(id)] >> (id % 64) & 1 == 1
    }
}

/// The ids in a row with later times that show a restart.
pub const LATER_RUN: usize = 3;
/// The ids in a row without times, below the highest of their connection, that show a restart.
pub const FALLEN_RUN: u32 = 64;
/// The connections that are compared with themselves.
const LINES: usize = 16;

/// A window of growing ids that notices a restart of the venue's numbers.
///
/// A repeated message has the time of the first one. So an id that is not above the window, with a time later than all
/// times so far, is of numbers that restarted, and [`LATER_RUN`] of them without an id above the window are a restart.
/// Until then, only those that are not in the window are delivered. Without times, [`FALLEN_RUN`] ids in a row below the
/// highest one of their connection are a restart.
///
/// After a restart, the window of the former numbers is compared with what is not later than its times, and with what
/// connections send whose untimed ids did not fall, so that a slower connection repeats nothing.
#[derive(Debug, Clone, Default)]
pub struct Restarting {
    window: Monotonic,
    /// The latest time, and that of the id far above the window.
    time: Option<Nanos>,
    far_time: Option<Nanos>,
    /// The ids with later times, and whether they were delivered.
    run: Vec<(u64, bool)>,
    /// The connections whose messages have no times.
    lines: Vec<Line>,
    former: Option<Box<Former>>,
}

/// The ids of a connection whose messages have no times.
#[derive(Debug, Clone)]
struct Line {
    connection: u32,
    highest: u64,
    /// The ids in a row below the highest one.
    run: u32,
    /// Whether its ids are those before the last restart.
    is_former: bool,
}

/// The numbers before the last restart.
#[derive(Debug, Clone)]
struct Former {
    window: Monotonic,
    time: Option<Nanos>,
}

impl Former {
    /// Looks up an id. Returns `None` if it is not of the former numbers.
    #[cold]
    fn check(&mut self, id: u64, time: Option<Nanos>) -> Option<IdStatus> {
        match time.cmp(&self.time) {
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Equal => self.window.contains(id).then_some(IdStatus::Duplicate),
            std::cmp::Ordering::Less => {
                Some(self.window.check(id)).filter(|status| *status != IdStatus::Stale)
            }
        }
    }
}

impl Restarting {
    /// Returns the watermark.
    pub fn highest(&self) -> Option<u64> {
        self.window.highest()
    }

    /// Looks up the id of a connection's message with a venue time and adds it to the window. Returns its status, and
    /// whether the numbers have restarted with it.
    #[inline]
    pub fn check(&mut self, id: u64, time: Option<Nanos>, connection: u32) -> (IdStatus, bool) {
        if time.is_none() {
            return self.untimed(id, connection);
        }
        if let Some(former) = &mut self.former
            && time <= former.time
            && let Some(status) = former.check(id, time)
        {
            return (status, false);
        }
        let highest = self.window.highest();
        if self.is_later(time) && highest.is_some_and(|highest| id <= highest) {
            return self.later(id, time);
        }
        let status = self.window.check(id);
        if self.window.highest() == Some(id) && status == IdStatus::New {
            self.time = self.time.max(time);
            self.run.clear();
        } else if status == IdStatus::New && highest.is_some_and(|highest| id > highest) {
            self.jumped(highest, time);
        }
        (status, false)
    }

    /// Looks up the id of a message that was dropped before as older than the subscription.
    pub fn check_repeated(&mut self, id: u64, time: Option<Nanos>) -> (IdStatus, bool) {
        if self.is_later(time) { self.later(id, time) } else { (IdStatus::Duplicate, false) }
    }

    #[inline]
    fn is_later(&self, time: Option<Nanos>) -> bool {
        time > self.time && self.time.is_some()
    }

    /// Takes the time of an id far above the window.
    #[cold]
    fn jumped(&mut self, highest: Option<u64>, time: Option<Nanos>) {
        if self.window.highest() != highest {
            self.time = self.time.max(time.min(self.far_time));
            self.run.clear();
        }
        self.far_time = time;
    }

    /// Takes an id that is not above the window and has a later time.
    #[cold]
    fn later(&mut self, id: u64, time: Option<Nanos>) -> (IdStatus, bool) {
        if self.run.iter().any(|(known, _)| *known == id) {
            return (IdStatus::Duplicate, false);
        }
        let is_new = self.window.check(id) != IdStatus::Duplicate;
        self.run.push((id, is_new));
        if self.run.len() < LATER_RUN {
            return (if is_new { IdStatus::New } else { IdStatus::Duplicate }, false);
        }
        let run = std::mem::take(&mut self.run);
        self.restart();
        for (known, was_delivered) in run {
            if was_delivered || known == id {
                self.window.check(known);
            }
        }
        self.time = time;
        (IdStatus::New, true)
    }

    /// Keeps the window as that of the former numbers.
    fn restart(&mut self) {
        let window = std::mem::take(&mut self.window);
        self.former = Some(Box::new(Former { window, time: self.time.take() }));
    }

    /// Looks up the id of a message without a time.
    fn untimed(&mut self, id: u64, connection: u32) -> (IdStatus, bool) {
        let at = self.lines.iter().position(|line| line.connection == connection).unwrap_or_else(|| {
            if self.lines.len() == LINES {
                self.lines.remove(0);
            }
            self.lines.push(Line { connection, highest: id, run: 0, is_former: false });
            self.lines.len() - 1
        });
        let line = &mut self.lines[at];
        if id > line.highest {
            (line.highest, line.run) = (id, 0);
        } else if id < line.highest {
            line.run += 1;
        }
        let has_fallen = line.run == FALLEN_RUN;
        let has_restarted = has_fallen && !line.is_former;
        if has_fallen {
            (line.highest, line.run, line.is_former) = (id, 0, false);
        }
        if has_restarted {
            self.restart();
            for (other, line) in self.lines.iter_mut().enumerate() {
                line.is_former = other != at;
            }
        }
        let is_former = self.lines[at].is_former;
        let window = match &mut self.former {
            Some(former) if is_former => &mut former.window,
            _ => &mut self.window,
        };
        (window.check(id), has_restarted)
    }
}

/// A window of ids without an order: the last [`WINDOW`] ids, compared in full.
#[derive(Debug, Clone, Default)]
pub struct Opaque {
    ids: HashSet<VenueId, foldhash::fast::RandomState>,
    order: VecDeque<VenueId>,
}

impl Opaque {
    /// Returns whether `id` is in the window.
    pub fn contains(&self, id: VenueId) -> bool {
        self.ids.contains(&id)
    }

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
mod tests;
