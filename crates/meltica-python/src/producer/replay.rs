//! `Producer.replay`: recorded frames, merged by time, at the recorded pace or as fast as the readers.

use super::PyProducer;
use crate::convert::value_error;
use meltica_core::clock;
use meltica_core::dispatch::NotDispatched;
use meltica_core::event::Nanos;
use meltica_core::feed::{Feed, Source};
use meltica_core::instrument::{canonical_symbol, is_symbol};
use meltica_core::names::SymbolId;
use meltica_core::replay::{self, Line, Merge, Pace, Place, Recorded, StampFault};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// A Python file object as a Rust reader.
struct PyReader(Py<PyAny>);

impl io::Read for PyReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Python::attach(|py| {
            let mut read = || -> PyResult<usize> {
                let bytes = self.0.bind(py).call_method1("read", (out.len(),))?;
                let bytes = bytes.cast::<PyBytes>()?.as_bytes();
                let n = bytes.len().min(out.len());
                out[..n].copy_from_slice(&bytes[..n]);
                Ok(n)
            };
            read().map_err(io::Error::other)
        })
    }
}

/// Merges the lines of Python file objects, whose frames have at most `max_frame` bytes.
pub fn merge(files: Vec<Py<PyAny>>, max_frame: usize) -> Merge {
    let readers = files.into_iter().map(|file| Box::new(PyReader(file)) as Box<dyn io::Read + Send>);
    Merge::new(readers.collect(), max_frame)
}

/// One run of a replay.
pub struct Run<'a> {
    producer: &'a PyProducer,
    pace: Option<Pace>,
    restamp: bool,
    /// The latest receive time, and who is called with what is wrong with one.
    last: Option<Nanos>,
    on_stamp: Option<&'a Py<PyAny>>,
    progress: Option<&'a Py<PyAny>>,
    /// The numbers of connections by name.
    connections: HashMap<Box<[u8]>, u32>,
    reported: Instant,
    /// Bytes consumed.
    done: u64,
    /// Whether every frame is handled by all hosts before the next, because lambdas subscribe to each other.
    lockstep: bool,
}

impl<'a> Run<'a> {
    pub fn new(
        producer: &'a PyProducer,
        speed: Option<f64>,
        restamp: bool,
        on_stamp: Option<&'a Py<PyAny>>,
        progress: Option<&'a Py<PyAny>>,
    ) -> Self {
        let (pace, lockstep) = (speed.map(Pace::new), producer.core.lambdas_listen());
        let reported = Instant::now();
        let connections = HashMap::new();
        Self {
            producer,
            pace,
            restamp,
            last: None,
            on_stamp,
            progress,
            connections,
            reported,
            done: 0,
            lockstep,
        }
    }

    /// Feeds every line until the files end or the producer is stopped.
    pub fn run(mut self, feed: &mut Feed, merge: &mut Merge) -> PyResult<()> {
        const LINES_BETWEEN_CHECKS: u32 = 256;
        let mut until_check = LINES_BETWEEN_CHECKS;
        let mut first = true;
        while let Some((place, line)) = merge.next_line().map_err(into_py)? {
            match line {
                Line::Frame(recorded) => {
                    if let Some(time) = recorded.time
                        && let Some(fault) = replay::stamp_fault(time, self.last.replace(time))
                    {
                        self.report(place, fault)?;
                    }
                    if !self.frame(feed, recorded)? {
                        break;
                    }
                }
                Line::Mark(time, connection, _) => {
                    if let Some(fault) = replay::stamp_fault(time, self.last.replace(time)) {
                        self.report(place, fault)?;
                    }
                    self.restart(feed, time, connection)?;
                }
                Line::Bad(line) if first => return Err(not_a_recording(place, line)),
                Line::Bad(text) | Line::TooLong(text) => {
                    let (kind, fault) = line.fault().unwrap_or_default();
                    self.bad_line(kind, fault, self.last.unwrap_or_default(), text);
                }
            }
            first = false;
            if self.producer.is_stopped() {
                break;
            }
            until_check -= 1;
            if until_check == 0 {
                until_check = LINES_BETWEEN_CHECKS;
                self.check(feed)?;
            }
        }
        feed.unsynced();
        if self.lockstep {
            feed.flush();
            self.producer.core.settle(&self.producer.stop)?;
        }
        self.producer.raise_interrupt()
    }

    /// Returns the number of a connection: the number that its name is, or one of its own. A name that begins with a category
    /// of the codec, such as `linear` or `linear-2`, has this category.
    fn connection(&mut self, feed: &mut Feed, name: &[u8]) -> u32 {
        /// Above any number that a name is.
        const NAMED: u32 = 1 << 31;
        if let Some(&number) = self.connections.get(name) {
            return number;
        }
        let text = String::from_utf8_lossy(name);
        let number = text.parse().ok().filter(|number| *number < NAMED);
        let number = number.unwrap_or(NAMED + self.connections.len() as u32);
        if let Some(category) = feed.category_of(&text) {
            feed.set_category(number, category);
        }
        self.connections.insert(name.into(), number);
        number
    }

    /// Restarts the books of a connection that was opened or lost, if it has sent frames.
    #[cold]
    fn restart(&mut self, feed: &mut Feed, time: Nanos, connection: &[u8]) -> PyResult<()> {
        self.wait_until_due(feed, time)?;
        let received = if self.restamp { clock::wall() } else { time };
        let connection = self.connection(feed, connection);
        if !feed.is_open(connection) {
            return Ok(());
        }
        match feed.restart_connection(connection, received) {
            Ok(_) | Err(NotDispatched::Stopped) => Ok(()),
            Err(error) => Err(self.producer.raised(error)),
        }
    }

    /// Returns the symbol that a line names, in canonical form or as the venue writes it.
    #[cold]
    fn symbol(&self, feed: &Feed, connection: u32, text: &[u8]) -> Option<SymbolId> {
        let text = std::str::from_utf8(text).ok()?;
        let symbol = if is_symbol(text) { Some(text.into()) } else { feed.canonical(connection, text) };
        let symbol = symbol.or_else(|| canonical_symbol(text).ok().map(Cow::into_owned))?;
        self.producer.stats.provider.symbol(&symbol).ok()
    }

    /// Counts a line that has no frame, as a bad frame.
    #[cold]
    fn bad_line(&self, kind: &'static str, fault: &str, time: Nanos, line: &[u8]) {
        self.producer.stats.frames.bump(1);
        self.producer.stats.bad(kind, fault.into(), time, line);
    }

    /// Feeds a frame once it is due; false when the producer was stopped.
    #[inline]
    fn frame(&mut self, feed: &mut Feed, recorded: Recorded<'_>) -> PyResult<bool> {
        let Recorded { time, connection, symbol, frame } = recorded;
        let connection = if connection.is_empty() { 0 } else { self.connection(feed, connection) };
        let is_timed = time.is_some();
        let time = time.or(self.last).unwrap_or_default();
        let mut source = Source::Recording;
        if !symbol.is_empty() {
            let Some(symbol) = self.symbol(feed, connection, symbol) else {
                let text = "expected the symbol of the frame before it, such as BTC-USDT";
                self.bad_line("bad_line", text, time, symbol);
                return Ok(true);
            };
            source = Source::Request(symbol);
        }
        // The receive time, a space and a line feed come with each frame.
        self.done += frame.len() as u64 + 21;
        if self.pace.is_some() {
            self.wait_until_due(feed, time)?;
        }
        let received = if self.restamp { clock::wall() } else { time };
        let outcome = if is_timed || self.restamp {
            feed.frame_from(source, connection, frame, received)
        } else {
            let outcome = feed.frame_by_venue_time(source, connection, frame);
            self.last = Some(feed.clock());
            outcome
        };
        match outcome {
            Ok(_) => {}
            Err(NotDispatched::Stopped) => return Ok(false),
            Err(error) => return Err(self.producer.raised(error)),
        }
        if self.lockstep {
            feed.flush();
            if !self.producer.core.settle(&self.producer.stop)? {
                return Ok(false);
            }
        }
        if self.pace.is_some() {
            feed.flush();
        }
        Ok(true)
    }

    #[cold]
    fn report(&self, place: Place, fault: StampFault) -> PyResult<()> {
        let Some(on_stamp) = self.on_stamp else { return Ok(()) };
        let fatal = matches!(fault, StampFault::Unit(..));
        Python::attach(|py| on_stamp.call1(py, (place.file, place.line, fault.to_string(), fatal)).map(drop))
    }

    fn wait_until_due(&mut self, feed: &mut Feed, time: Nanos) -> PyResult<()> {
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let mut wait = pace.wait_for(time);
        if !wait.is_zero() {
            feed.flush();
        }
        while !wait.is_zero() && !self.producer.is_stopped() {
            std::thread::sleep(wait.min(Duration::from_millis(50)));
            wait = pace.wait_for(time);
            Python::attach(|py| py.check_signals())?;
        }
        Ok(())
    }

    /// Wakes readers, handles signals and reports progress.
    fn check(&mut self, feed: &mut Feed) -> PyResult<()> {
        feed.flush();
        self.lockstep = self.producer.core.lambdas_listen();
        if self.reported.elapsed() <= Duration::from_millis(100) {
            return Ok(());
        }
        self.reported = Instant::now();
        Python::attach(|py| {
            py.check_signals()?;
            self.progress.map_or(Ok(()), |progress| progress.call1(py, (self.done,)).map(drop))
        })
    }
}

fn not_a_recording(place: Place, line: &[u8]) -> PyErr {
    let text = String::from_utf8_lossy(&line[..line.len().min(60)]).into_owned();
    let file = place.file + 1;
    value_error(format!("file {file}: expected lines of `<receive ns> <frame>`, saw {text:?}"))
}

/// Returns the exception that a Python file object raised.
fn into_py(error: io::Error) -> PyErr {
    if error.get_ref().is_some_and(|inner| inner.is::<PyErr>())
        && let Some(inner) = error.into_inner()
        && let Ok(inner) = inner.downcast::<PyErr>()
    {
        return *inner;
    }
    PyRuntimeError::new_err("recording not read: the file object failed")
}

/// Returns what is wrong with a receive time of a recording, and whether it is in another unit than ns.
///
/// `last` is the one before it in the order of the replay, None for the first. A time is at fault if it looks like
/// seconds, milliseconds or microseconds, or if it jumps by more than a day. Returns None for one without a fault.
#[pyfunction]
#[pyo3(signature = (time, last, /))]
pub fn stamp_fault(time: Nanos, last: Option<Nanos>) -> Option<(String, bool)> {
    let fault = replay::stamp_fault(time, last)?;
    Some((fault.to_string(), matches!(fault, StampFault::Unit(..))))
}

/// Returns the name of the connection and the frame of a line of a recording, and the fault of a line that has no frame.
///
/// `has_time` is false for the lines of a file whose first line is JSON. The frame of a mark is None.
#[pyfunction]
#[pyo3(signature = (line, has_time, /))]
pub fn read_line(line: &[u8], has_time: bool) -> (Cow<'_, str>, Option<&[u8]>, Option<&'static str>) {
    let line = replay::read_line(line, has_time);
    let fault = line.fault().map(|(_, text)| text);
    match line {
        Line::Frame(recorded) => (String::from_utf8_lossy(recorded.connection), Some(recorded.frame), fault),
        Line::Mark(_, connection, _) => (String::from_utf8_lossy(connection), None, fault),
        Line::Bad(text) | Line::TooLong(text) => (Cow::default(), Some(text), fault),
    }
}
