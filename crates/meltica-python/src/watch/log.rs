//! Lines of the log that the interpreter does not write.

use meltica_core::clock;
use meltica_core::event::Nanos;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

const LOGGER: &str = "watch";

/// Severity of a line.
#[derive(Debug, Clone, Copy)]
pub enum Level {
    Warning,
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// Where lines go: to stderr, and to a file.
#[derive(Default)]
pub struct Log {
    pub json: bool,
    pub path: Option<PathBuf>,
}

impl Log {
    /// Writes a line. One that cannot be written is lost: the log must not stop the watch.
    pub fn write(&self, level: Level, message: &str) {
        let line = self.line(clock::wall(), level, message);
        if let Some(path) = &self.path {
            let file = OpenOptions::new().append(true).create(true).open(path);
            let _lost = file.and_then(|mut file| file.write_all(line.as_bytes()));
        }
        bounded(move || std::io::stderr().write_all(line.as_bytes()));
    }

    fn line(&self, now: Nanos, level: Level, message: &str) -> String {
        let (time, level) = (utc(now), level.name());
        if self.json {
            let message = quoted(message);
            format!(
                r#"{{"time":"{time}","level":"{level}","logger":"meltica.{LOGGER}","message":{message}}}"#
            ) + "\n"
        } else {
            format!("{} {level} watch: {message}\n", &time[11..])
        }
    }
}

/// Writes on a thread of its own, and waits for it for a short time: the reader of a stream may be suspended.
pub fn bounded(write: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    const PATIENCE: Duration = Duration::from_millis(200);
    let (written, wait) = mpsc::channel();
    let writer = std::thread::Builder::new().name("meltica-write".into()).spawn(move || {
        let _lost = write();
        let _late = written.send(());
    });
    if writer.is_ok() {
        let _late = wait.recv_timeout(PATIENCE);
    }
}

/// Returns a string of JSON.
pub fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out + "\""
}

/// Returns a time as RFC 3339, UTC, to the millisecond.
fn utc(ns: Nanos) -> String {
    let (days, ms) = (ns.div_euclid(86_400_000_000_000), ns.div_euclid(1_000_000).rem_euclid(86_400_000));
    // The civil date of a day number, in years that begin in March.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}
