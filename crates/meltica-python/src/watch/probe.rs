//! Attaches to the interpreter, so that the watch sees how long that takes.

use crate::callback::python_thread;
use meltica_core::clock;
use meltica_core::event::Nanos;
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};

/// How often an idle probe attaches.
const INTERVAL: Nanos = 500_000_000;

/// A thread that attaches on request.
#[derive(Default)]
pub struct Probe {
    /// When it was requested to attach, 0 while it is idle.
    requested: AtomicI64,
    /// When it attached last.
    attached: AtomicI64,
    closed: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Probe {
    /// Starts the thread.
    pub fn start() -> std::io::Result<(Arc<Self>, JoinHandle<()>)> {
        let probe = Arc::new(Self::default());
        let shared = Arc::clone(&probe);
        let thread = python_thread("meltica-probe").spawn(move || shared.run())?;
        let _ = probe.thread.set(thread.thread().clone());
        Ok((probe, thread))
    }

    fn run(&self) {
        while !self.closed.load(Ordering::Acquire) {
            if self.requested.load(Ordering::Acquire) == 0 {
                std::thread::park();
                continue;
            }
            // None: the interpreter ends.
            if Python::try_attach(|_| ()).is_none() {
                return;
            }
            self.attached.store(clock::monotonic(), Ordering::Relaxed);
            self.requested.store(0, Ordering::Release);
        }
    }

    /// Returns how long the probe has waited for the interpreter; requests the next attachment if it is due.
    pub fn tick(&self, now: Nanos) -> Option<Nanos> {
        let requested = self.requested.load(Ordering::Acquire);
        if requested != 0 {
            return Some(now - requested).filter(|_| !self.closed.load(Ordering::Acquire));
        }
        if now - self.attached.load(Ordering::Relaxed) >= INTERVAL {
            self.requested.store(now.max(1), Ordering::Release);
            self.unpark();
        }
        None
    }

    /// Ends the thread once it is attached or idle.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.unpark();
    }

    fn unpark(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Returns the id of the calling thread as the kernel numbers it, 0 on a system without such numbers.
pub fn thread_number() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").ok();
    link.and_then(|link| link.file_name()?.to_str()?.parse().ok()).unwrap_or(0)
}

/// What a thread of this process has done so far.
#[derive(Clone, Copy)]
pub struct Activity {
    /// CPU time, in ticks of the kernel.
    cpu: u64,
    /// How often it gave up the CPU by itself.
    waits: u64,
}

impl Activity {
    /// Reads the activity of a thread; `None` where it cannot be read.
    pub fn of(thread: u32) -> Option<Self> {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok();
        let stat = read("stat")?;
        // The name, in parentheses, may contain spaces. User and system time are the fields 14 and 15.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let cpu = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        let status = read("status")?;
        let waits = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some(Self { cpu, waits: waits.trim().parse().ok()? })
    }

    /// Returns the CPU time since `before`; `None` if the thread waits for the interpreter, which it does in short steps.
    pub fn worked_since(self, before: Self) -> Option<u64> {
        const FEW: u64 = 50;
        (self.waits - before.waits < FEW).then_some(self.cpu - before.cpu)
    }
}
