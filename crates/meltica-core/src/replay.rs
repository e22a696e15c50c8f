//! Recorded frames, merged and paced: lines of `<receive ns> <frame>`.

use crate::event::Nanos;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// Maximum length of a line. A longer one is a bad frame.
pub const MAX_LINE: usize = crate::codec::MAX_FRAME + 32;

/// The bytes read at once. A few chunks fit into the cache of a core, so that each line is still there when it is decoded.
const CHUNK: usize = 1 << 17;

/// One line of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// The receive time and the frame.
    Frame(Nanos, &'a [u8]),
    /// A line of another form.
    Bad(&'a [u8]),
    /// The beginning of a line longer than [`MAX_LINE`].
    TooLong(&'a [u8]),
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The index of the file.
    pub file: usize,
    /// The number of the line, from 1.
    pub line: u64,
}

/// Reads the lines of one file.
struct File {
    source: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    /// The current line: `start..end` of the buffer.
    start: usize,
    end: usize,
    /// The start of the next line.
    next: usize,
    filled: usize,
    ended: bool,
    skipping: bool,
    too_long: bool,
    /// The receive time of the current line and the start of its frame, if the line has the right form.
    stamp: Option<(Nanos, usize)>,
    /// The place of the current line in the merge: its receive time, or that of the last line that had one.
    time: Nanos,
    /// The number of the current line, blank ones included.
    number: u64,
}

impl File {
    fn new(source: Box<dyn Read + Send>) -> Self {
        Self {
            source,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            next: 0,
            filled: 0,
            ended: false,
            skipping: false,
            too_long: false,
            stamp: None,
            time: Nanos::MIN,
            number: 0,
        }
    }

    /// Moves to the next line that is not blank, and reads its stamp. Returns false at the end of the file.
    fn advance(&mut self) -> io::Result<bool> {
        if !self.find_line()? {
            return Ok(false);
        }
        self.stamp = if self.too_long { None } else { stamp(&self.buffer[self.start..self.end]) };
        if let Some((time, _)) = self.stamp {
            self.time = time;
        }
        Ok(true)
    }

    /// Finds the next line that is not blank. Returns false at the end of the file.
    fn find_line(&mut self) -> io::Result<bool> {
        loop {
            if let Some(n) = memchr::memchr(b'\n', &self.buffer[self.next..self.filled]) {
                (self.start, self.end) = (self.next, self.next + n);
                self.next += n + 1;
                self.number += u64::from(!self.skipping);
            } else if self.filled - self.next > MAX_LINE {
                // Keep the beginning, drop the rest of the line.
                (self.start, self.end) = (self.next, self.filled);
                self.next = self.filled;
                let rest = !std::mem::replace(&mut self.skipping, true);
                self.too_long = true;
                if rest {
                    self.number += 1;
                    return Ok(true);
                }
                continue;
            } else if self.ended {
                if self.next == self.filled {
                    return Ok(false);
                }
                (self.start, self.end) = (self.next, self.filled);
                self.next = self.filled;
                self.number += u64::from(!self.skipping);
            } else {
                self.fill()?;
                continue;
            }
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            self.too_long = self.end - self.start > MAX_LINE;
            if self.end > self.start && self.buffer[self.end - 1] == b'\r' {
                self.end -= 1;
            }
            if self.end > self.start {
                return Ok(true);
            }
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.next..self.filled, 0);
        self.filled -= self.next;
        self.next = 0;
        if self.buffer.len() - self.filled < CHUNK {
            self.buffer.resize(self.filled + CHUNK, 0);
        }
        let n = loop {
            match self.source.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.filled += n;
        self.ended = n == 0;
        Ok(())
    }

    fn line(&self) -> Line<'_> {
        let line = &self.buffer[self.start..self.end];
        if self.too_long {
            return Line::TooLong(&line[..line.len().min(4096)]);
        }
        match self.stamp {
            Some((time, frame)) => Line::Frame(time, &line[frame..]),
            None => Line::Bad(line),
        }
    }
}

/// Reads the receive time at the beginning of a line. Returns it and the start of the frame after it.
#[inline]
fn stamp(line: &[u8]) -> Option<(Nanos, usize)> {
    /// The most digits of a time. A number of as many fits into 64 bits without a sign.
    const DIGITS: usize = 19;
    let (mut time, mut digits) = (0u64, 0);
    for byte in line.iter().take(DIGITS) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        time = time * 10 + u64::from(digit);
        digits += 1;
    }
    if digits == 0 || line.get(digits) != Some(&b' ') {
        return None;
    }
    Some((Nanos::try_from(time).ok()?, digits + 1))
}

/// Merges several files into one stream by (time, file, line). A line without a valid time keeps its place in its file.
pub struct Merge {
    files: Vec<Option<File>>,
    last: Option<usize>,
}

impl Merge {
    /// Returns the stream of `sources`.
    pub fn new(sources: Vec<Box<dyn Read + Send>>) -> Self {
        Self { files: sources.into_iter().map(|source| Some(File::new(source))).collect(), last: None }
    }

    /// Returns the next line, or `None` at the end of all files.
    ///
    /// # Errors
    /// Any error of a source.
    pub fn next_line(&mut self) -> io::Result<Option<(Place, Line<'_>)>> {
        let stale = self.last.map_or(0..self.files.len(), |file| file..file + 1);
        for i in stale {
            let Some(file) = &mut self.files[i] else { continue };
            if !file.advance()? {
                self.files[i] = None;
            }
        }
        let heads = self.files.iter().enumerate().filter_map(|(i, file)| file.as_ref().map(|f| (f.time, i)));
        let Some((_, i)) = heads.min() else { return Ok(None) };
        self.last = Some(i);
        Ok(self.files[i].as_ref().map(|file| (Place { file: i, line: file.number }, file.line())))
    }
}

/// What is wrong with a receive time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StampFault {
    /// It has as many digits as the present has in this unit, which is not ns.
    Unit(Nanos, &'static str),
    /// It is this far from the one before, by more than a day.
    Jump(Nanos),
}

impl std::fmt::Display for StampFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const HOUR: f64 = 3.6e12;
        match *self {
            Self::Unit(time, unit) => {
                write!(f, "expected a receive time in nanoseconds, saw {time}, which looks like {unit}")
            }
            Self::Jump(by) => {
                let way = if by < 0 { "back" } else { "forward" };
                write!(f, "the receive time jumps {way} by {:.1} hours", by.unsigned_abs() as f64 / HOUR)
            }
        }
    }
}

/// Returns what is wrong with a receive time, which follows `last` in the order of the replay.
#[inline]
pub fn stamp_fault(time: Nanos, last: Option<Nanos>) -> Option<StampFault> {
    const DAY: u64 = 86_400_000_000_000;
    let by = time.saturating_sub(last.unwrap_or(time));
    match time {
        // From 2001 to 2286, in the named unit.
        1_000_000_000_000..10_000_000_000_000 => Some(StampFault::Unit(time, "milliseconds")),
        1_000_000_000_000_000..10_000_000_000_000_000 => Some(StampFault::Unit(time, "microseconds")),
        _ => (by.unsigned_abs() > DAY).then_some(StampFault::Jump(by)),
    }
}

/// Replays recorded time at `speed` times the recorded pace.
#[derive(Debug)]
pub struct Pace {
    speed: f64,
    origin: Option<(Nanos, Instant)>,
}

impl Pace {
    /// Returns a pace of `speed`, which must be above zero.
    pub fn new(speed: f64) -> Self {
        Self { speed, origin: None }
    }

    /// Returns the time to wait before an event of recorded time `time`.
    pub fn wait_for(&mut self, time: Nanos) -> Duration {
        let (first, started) = *self.origin.get_or_insert((time, Instant::now()));
        let due = Duration::from_secs_f64(((time - first).max(0) as f64 / 1e9 / self.speed).min(1e9));
        due.saturating_sub(started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source that returns its bytes in small pieces.
    struct Drip(Vec<u8>, usize);

    impl Read for Drip {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(out.len());
            out[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn lines(files: &[&str], step: usize) -> Vec<String> {
        let sources =
            files.iter().map(|f| Box::new(Drip(f.as_bytes().to_vec(), step)) as Box<dyn Read + Send>);
        let mut merge = Merge::new(sources.collect());
        let mut out = Vec::new();
        while let Some((Place { file, .. }, line)) = merge.next_line().unwrap() {
            out.push(match line {
                Line::Frame(time, frame) => format!("{file}:{time}:{}", String::from_utf8_lossy(frame)),
                Line::Bad(line) => format!("{file}:bad:{}", String::from_utf8_lossy(line)),
                Line::TooLong(_) => format!("{file}:long"),
            });
        }
        out
    }

    #[test]
    fn files_merge_by_time_then_file_then_line() {
        for step in [1, 3, 1000] {
            let merged = lines(&["1 a\n3 b\n3 c\n", "1 d\r\n2 e\n\n3 f"], step);
            assert_eq!(merged, ["0:1:a", "1:1:d", "1:2:e", "0:3:b", "0:3:c", "1:3:f"]);
        }
    }

    #[test]
    fn a_stamp_has_one_to_nineteen_digits_and_fits() {
        let largest = Nanos::MAX.to_string();
        for (line, read) in [
            ("0 a", Some((0, 2))),
            ("0001 a", Some((1, 5))),
            ("7 ", Some((7, 2))),
            (&format!("{largest} a"), Some((Nanos::MAX, 20))),
            ("9223372036854775808 a", None),
            ("9999999999999999999 a", None),
            ("00000000000000000001 a", None),
            ("", None),
            (" 1 a", None),
            ("12", None),
            ("12\t", None),
            ("-1 a", None),
            ("1: a", None),
            ("1/ a", None),
        ] {
            assert_eq!(stamp(line.as_bytes()), read, "{line:?}");
        }
    }

    #[test]
    fn lines_of_another_form_keep_their_place() {
        let merged = lines(&["1 a\nnonsense\n99999999999999999999 x\n2 b\n"], 7);
        assert_eq!(merged, ["0:1:a", "0:bad:nonsense", "0:bad:99999999999999999999 x", "0:2:b"]);
    }

    #[test]
    fn an_endless_line_is_one_bad_line() {
        let long = format!("1 {}\n2 b\n", "x".repeat(MAX_LINE + 3 * CHUNK));
        assert_eq!(lines(&[&long], usize::MAX), ["0:long", "0:2:b"]);
    }

    #[test]
    fn lines_are_numbered_as_an_editor_does() {
        let long = format!("1 a\n\n2 b\r\n3 {}\nbad\n5 c", "x".repeat(MAX_LINE + CHUNK));
        for step in [CHUNK / 3, CHUNK] {
            let source = Box::new(Drip(long.as_bytes().to_vec(), step)) as Box<dyn Read + Send>;
            let mut merge = Merge::new(vec![source]);
            let mut numbers = Vec::new();
            while let Some((place, _)) = merge.next_line().unwrap() {
                numbers.push(place.line);
            }
            assert_eq!(numbers, [1, 3, 4, 5, 6]);
        }
    }

    #[test]
    fn stamps_of_another_unit_and_jumps_are_named() {
        let (now, day) = (1_700_000_000_000_000_000, 86_400_000_000_000);
        for last in [None, Some(now), Some(now - day), Some(now + day)] {
            assert_eq!(stamp_fault(now, last), None);
        }
        let back = stamp_fault(now, Some(now + day + 1));
        assert_eq!(back, Some(StampFault::Jump(-day - 1)));
        assert_eq!(back.unwrap().to_string(), "the receive time jumps back by 24.0 hours");
        assert_eq!(stamp_fault(now + day + 1, Some(now)), Some(StampFault::Jump(day + 1)));
        for (divisor, unit) in [(1_000, "microseconds"), (1_000_000, "milliseconds")] {
            assert_eq!(stamp_fault(now / divisor, Some(now)), Some(StampFault::Unit(now / divisor, unit)));
        }
        assert_eq!(stamp_fault(Nanos::MAX, Some(Nanos::MIN)), Some(StampFault::Jump(Nanos::MAX)));
    }
}
