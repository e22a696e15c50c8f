//! Recorded frames, merged and paced.
//!
//! | line | meaning |
//! |---|---|
//! | `<ns> [@<connection>] [<symbol>] <frame>` | a frame, with its receive time |
//! | `<seconds.fraction>: [@<connection>] [<symbol>] <frame>` | the same |
//! | `<ns> @<connection> open`, `<ns> @<connection> lost [<reason>]` | the connection was opened or lost |
//! | `<frame>` | a frame without a receive time, in a file whose first line is one |
//!
//! A frame is JSON, or text without a symbol before it.

use crate::event::Nanos;
use std::io::{self, Read};
use std::time::{Duration, Instant};

/// The bytes of a line beside its frame: time, connection and symbol.
const MAX_TAGS: usize = 512;

/// The bytes read at once. A few chunks fit into the cache of a core, so that each line is still there when it is decoded.
const CHUNK: usize = 1 << 17;

/// One line of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A frame.
    Frame(Recorded<'a>),
    /// The connection of that name was opened or lost.
    Mark(Nanos, &'a [u8], Mark<'a>),
    /// A line of another form.
    Bad(&'a [u8]),
    /// The beginning of a line that is longer than a frame may be.
    TooLong(&'a [u8]),
}

impl Line<'_> {
    /// Returns the kind and the text of the fault of a line that is neither a frame nor a mark.
    pub const fn fault(&self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Frame(_) | Self::Mark(..) => None,
            Self::Bad(_) => Some(("bad_line", "expected `<receive ns> [@<connection>] [<symbol>] <frame>`")),
            Self::TooLong(_) => Some(("too_large", "the line is longer than a frame may be")),
        }
    }
}

/// A recorded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded<'a> {
    /// The receive time, if the line has one.
    pub time: Option<Nanos>,
    /// The name of the connection; empty if the line has none.
    pub connection: &'a [u8],
    /// The symbol that the frame was requested for; empty if the line has none.
    pub symbol: &'a [u8],
    /// The frame as the venue sent it.
    pub frame: &'a [u8],
}

/// An event of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark<'a> {
    /// It was opened.
    Open,
    /// It was lost, for this reason.
    Lost(&'a [u8]),
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
    /// Maximum length of a line. A longer one is a bad frame.
    max_line: usize,
    skipping: bool,
    too_long: bool,
    /// The receive time of the current line and the start of the text after it, if the line has the right form.
    stamp: Option<(Option<Nanos>, usize)>,
    /// Whether the lines have no receive time; `None` before the first line.
    timeless: Option<bool>,
    /// The place of the current line in the merge: its receive time, or that of the last line that had one.
    time: Nanos,
    /// The number of the current line, blank ones included.
    number: u64,
}

impl File {
    fn new(source: Box<dyn Read + Send>, max_line: usize) -> Self {
        Self {
            source,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            next: 0,
            filled: 0,
            ended: false,
            max_line,
            skipping: false,
            too_long: false,
            stamp: None,
            timeless: None,
            time: Nanos::MIN,
            number: 0,
        }
    }

    /// Moves to the next line that is not blank, and reads its stamp. Returns false at the end of the file.
    fn advance(&mut self) -> io::Result<bool> {
        if !self.find_line()? {
            return Ok(false);
        }
        let line = &self.buffer[self.start..self.end];
        self.stamp = if self.too_long {
            None
        } else if *self.timeless.get_or_insert_with(|| is_json(line)) {
            Some((None, 0))
        } else {
            stamp(line)
        };
        if let Some((Some(time), _)) = self.stamp {
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
            } else if self.filled - self.next > self.max_line {
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
            self.too_long = self.end - self.start > self.max_line;
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
        // A long line is read in ever larger parts, as each read searches and moves it from its start.
        let end = self.filled + CHUNK.max(self.filled);
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        let n = loop {
            match self.source.read(&mut self.buffer[self.filled..end]) {
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
        stamped(line, self.stamp)
    }
}

/// Reads one line, of a file with receive times or without. The line is not empty and has no line feed.
pub fn read_line(line: &[u8], has_time: bool) -> Line<'_> {
    stamped(line, if has_time { stamp(line) } else { Some((None, 0)) })
}

/// Reads a line with its receive time and the start of the text after it.
#[inline]
fn stamped(line: &[u8], stamp: Option<(Option<Nanos>, usize)>) -> Line<'_> {
    match stamp {
        Some((time, start)) if is_json(&line[start..]) => {
            Line::Frame(Recorded { time, connection: b"", symbol: b"", frame: &line[start..] })
        }
        Some((time, start)) => tagged(time, line, start),
        None => Line::Bad(line),
    }
}

fn is_json(text: &[u8]) -> bool {
    matches!(text.first(), Some(b'{' | b'['))
}

/// Reads a line whose text after the time, at `start`, is not JSON: a mark, or a frame behind a connection or a symbol.
#[cold]
fn tagged(time: Option<Nanos>, line: &[u8], start: usize) -> Line<'_> {
    let first_word = |text: &[u8]| memchr::memchr(b' ', text).unwrap_or(text.len());
    let mut rest = line[start..].trim_ascii_start();
    let mut connection: &[u8] = b"";
    if let Some(named) = rest.strip_prefix(b"@") {
        let end = first_word(named);
        if end == 0 || end + 1 >= named.len() {
            return Line::Bad(line);
        }
        (connection, rest) = (&named[..end], named[end + 1..].trim_ascii_start());
        let end = first_word(rest);
        match (&rest[..end], time) {
            (b"open", Some(time)) if end == rest.len() => return Line::Mark(time, connection, Mark::Open),
            (b"lost", Some(time)) => {
                let reason = rest.get(end + 1..).unwrap_or_default();
                return Line::Mark(time, connection, Mark::Lost(reason));
            }
            _ => {}
        }
    }
    let end = first_word(rest);
    let (symbol, frame) = match rest.get(end + 1..).map(<[u8]>::trim_ascii_start) {
        Some(frame) if is_json(frame) && !is_json(rest) => (&rest[..end], frame),
        _ => (&rest[..0], rest),
    };
    Line::Frame(Recorded { time, connection, symbol, frame })
}

/// Reads the receive time at the beginning of a line. Returns it and the start of the text after it.
#[inline]
fn stamp(line: &[u8]) -> Option<(Option<Nanos>, usize)> {
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
    if digits == 0 {
        return None;
    }
    match line.get(digits) {
        Some(b' ') => Some((Some(Nanos::try_from(time).ok()?), digits + 1)),
        Some(b'.') => seconds(time, line, digits + 1),
        _ => None,
    }
}

/// Reads the fraction of a time in seconds, which begins at `start`. Digits beyond nanoseconds are dropped.
#[cold]
fn seconds(whole: u64, line: &[u8], start: usize) -> Option<(Option<Nanos>, usize)> {
    let fraction = &line[start..];
    let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 || fraction.get(digits..digits + 2) != Some(b": ") {
        return None;
    }
    let nanos = (0..9)
        .fold(0, |nanos, i| nanos * 10 + fraction[..digits].get(i).map_or(0, |byte| u64::from(byte - b'0')));
    let time = whole.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    Some((Some(Nanos::try_from(time).ok()?), start + digits + 2))
}

/// Merges several files into one stream by (time, file, line). A line without a valid time keeps its place in its file.
pub struct Merge {
    files: Vec<Option<File>>,
    last: Option<usize>,
}

impl Merge {
    /// Returns the stream of `sources`, whose frames have at most `max_frame` bytes.
    pub fn new(sources: Vec<Box<dyn Read + Send>>, max_frame: usize) -> Self {
        let file = |source| Some(File::new(source, max_frame + MAX_TAGS));
        Self { files: sources.into_iter().map(file).collect(), last: None }
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
        // From 2001 to 2286, in the named unit. A recording may reach seconds by a clock that began at 0.
        1_000_000_000..10_000_000_000 if last.is_none() => Some(StampFault::Unit(time, "seconds")),
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
mod tests;
