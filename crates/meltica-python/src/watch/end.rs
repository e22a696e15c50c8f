//! Ends the process by the deadline of a stop that the interpreter cannot keep.

use super::log::{Level, Log, bounded, quoted};
use meltica_core::event::Nanos;
use meltica_core::watch::{EndCause, StopDeadline};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time that ending the process may take: the fast shutdown of PostgreSQL.
const RESERVE: Nanos = 5_000_000_000;
/// The least of it, also after a second signal.
const LEAST: Nanos = 2_000_000_000;

const LAMBDA_LEFT: i32 = 3;
const OTHER_LEFT: i32 = 1;
const SECOND_SIGNAL: i32 = 130;

/// The signals received. Handlers that were installed before are called as well.
pub struct Signals(Vec<Arc<AtomicBool>>);

impl Signals {
    /// Registers the signals, beside their present handlers.
    pub fn register(numbers: &[i32]) -> std::io::Result<Self> {
        let register = |number: &i32| {
            let flag = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(*number, Arc::clone(&flag)).map(|_| flag)
        };
        numbers.iter().map(register).collect::<Result<_, _>>().map(Self)
    }

    /// Returns whether one was received since the last call.
    fn take(&self) -> bool {
        self.0.iter().filter(|flag| flag.swap(false, Ordering::AcqRel)).count() > 0
    }
}

/// What ends with the process, and when.
pub struct Ending {
    deadline: StopDeadline,
    signals: Signals,
    data: Option<PathBuf>,
    output: Option<i32>,
}

impl Ending {
    pub fn new(timeout: Nanos, signals: Signals, data: Option<PathBuf>, output: Option<i32>) -> Self {
        Self { deadline: StopDeadline::new(timeout, RESERVE), signals, data, output }
    }

    /// Returns whether a signal was received.
    pub fn is_requested(&self) -> bool {
        self.deadline.since(0).is_some()
    }

    /// Returns whether to end the process now, and why. `held`: whether the interpreter is held.
    pub fn check(&mut self, now: Nanos, held: bool) -> Option<EndCause> {
        if self.signals.take() {
            self.deadline.signal(now);
        }
        self.deadline.check(now, held)
    }

    /// Ends the process. `running` names the lambdas whose callback runs.
    pub fn end(&self, cause: EndCause, now: Nanos, running: &[&str], log: &Log) -> ! {
        let code = match cause {
            EndCause::Again => SECOND_SIGNAL,
            _ if running.is_empty() => OTHER_LEFT,
            _ => LAMBDA_LEFT,
        };
        let names = if running.is_empty() { "none".to_owned() } else { running.join(", ") };
        let why = match cause {
            EndCause::Again => "a second signal was received while the interpreter is held",
            EndCause::Held => "the interpreter is held, so the orderly stop cannot go on",
            EndCause::Overdue => "the orderly stop did not end in time",
        };
        log.write(
            Level::Error,
            &format!(
                "{why}; the process ends with exit code {code} and without its last states or report; lambdas in a \
                 callback: {names}"
            ),
        );
        let left =
            if cause == EndCause::Again { LEAST } else { self.deadline.left(now).clamp(LEAST, RESERVE) };
        let left = Duration::from_nanos(left as u64);
        if let Some(data) = &self.data
            && !stop_postgres(data, Instant::now() + left)
        {
            log.write(Level::Error, "PostgreSQL is still stopping, which it finishes on its own");
        }
        self.write_result(cause, code, !running.is_empty());
        if std::io::stderr().is_terminal() {
            // The status line hides the cursor.
            bounded(|| std::io::stderr().write_all(b"\x1b[?25h"));
        }
        signal_hook::low_level::exit(code)
    }

    /// Writes the last line of JSON.
    fn write_result(&self, cause: EndCause, code: i32, lambdas: bool) {
        let Some(output) = self.output else { return };
        let line = match cause {
            EndCause::Again => format!("{{\"event\": \"interrupted\", \"exit_code\": {code}}}\n"),
            EndCause::Held | EndCause::Overdue => {
                let left = quoted(if lambdas { "lambdas" } else { "gateway" });
                format!("{{\"event\": \"stopped\", \"left_behind\": [{left}], \"exit_code\": {code}}}\n")
            }
        };
        bounded(move || {
            let mut file = OpenOptions::new().append(true).open(format!("/dev/fd/{output}"))?;
            file.write_all(line.as_bytes())
        });
    }
}

/// Stops the PostgreSQL server on `data` by a fast shutdown. Returns false if it still runs at the deadline; it then ends
/// on its own.
fn stop_postgres(data: &Path, deadline: Instant) -> bool {
    let file = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    let number = file.lines().next().and_then(|line| line.trim().parse().ok());
    let Some(server) = number.and_then(Pid::from_raw) else { return true };
    kill_process(server, Signal::INT).is_err() || has_ended(server, deadline)
}

/// Waits until a process has ended; false if it still runs `until` then.
fn has_ended(process: Pid, until: Instant) -> bool {
    loop {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
        let zombie =
            stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')));
        if zombie || rustix::process::test_kill_process(process).is_err() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
