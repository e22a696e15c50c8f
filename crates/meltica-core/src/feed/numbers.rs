//! The numbers of a connection's frames.

use std::collections::VecDeque;

/// The number of frames that are recognized.
const WINDOW: usize = 4096;
/// The number of late frames in a row that show a restart of the numbers.
const LATE_RUN: u32 = 3;

/// The place of a frame in the order of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is the next frame, or the first one.
    Next,
    /// Frames before it were lost.
    Gap,
    /// It was received before, or follows a frame with a higher number.
    Old,
    /// The numbers have restarted.
    Restarted,
}

/// The numbers of the last frames of a connection.
#[derive(Default)]
pub(super) struct Numbers {
    /// By ascending number, each with a fingerprint.
    frames: VecDeque<(u64, u32)>,
    /// Frames in a row, up to now, that were late.
    late: u32,
}

impl Numbers {
    /// Adds a frame, unless it is old.
    #[inline]
    pub fn add(&mut self, number: u64, frame: &[u8]) -> Arrival {
        let print = crc32fast::hash(frame);
        let arrival = match self.frames.back() {
            Some(&(last, _)) if number <= last => self.place(number, print),
            Some(&(last, _)) if number - last > 1 => Arrival::Gap,
            _ => Arrival::Next,
        };
        match arrival {
            Arrival::Old => return arrival,
            Arrival::Restarted => self.frames.clear(),
            Arrival::Next | Arrival::Gap if self.frames.len() == WINDOW => drop(self.frames.pop_front()),
            Arrival::Next | Arrival::Gap => {}
        }
        self.late = 0;
        self.frames.push_back((number, print));
        arrival
    }

    /// Returns the place of a frame whose number is not above the last one. Only numbers that restart are those of two
    /// different frames, or lower than all others, or those of many late frames.
    #[cold]
    fn place(&mut self, number: u64, print: u32) -> Arrival {
        match self.frames.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) if self.frames[at].1 == print => Arrival::Old,
            Err(1..) if self.late + 1 < LATE_RUN => {
                self.late += 1;
                Arrival::Old
            }
            Ok(_) | Err(_) => Arrival::Restarted,
        }
    }
}
