//! A host's thread.

use super::HostShared;
use super::context::clear_tracing;
use super::objects::Objects;
use super::posted::Ending;
use super::seat::{Group, Seat, count_losses};
use super::share::Share;
use super::timers::Order;
use super::trigger::Begun;
use crate::barrier::Drains;
use crate::callback::{call, panic_text, python_thread, thread_ident};
use crate::exit::{Hang, Live};
use crate::instance::State;
use crate::watch::thread_number;
use meltica_core::bus::{Merge, Rule};
use meltica_core::clock;
use meltica_core::event::{Event, Kind, Nanos, Payload};
use pyo3::prelude::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The thread's own state.
pub struct Loop {
    pub shared: Arc<HostShared>,
    pub groups: Vec<Group>,
    pub merge: Merge,
    /// The instances that stop and have not ended.
    pub ending: Vec<Ending>,
    /// The number of the round.
    pub round: u64,
    /// Whether posted functions wait for the next round.
    pub posts_wait: bool,
    /// When the earliest timer is due: on the monotonic clock live, on the events' clock in a replay.
    pub next_timer: Nanos,
    pub timers: Order,
    /// What starts have used of a round.
    pub starts: Share,
    pub now: Nanos,
    objects: Objects,
    /// Until when the slowest deliveries are not checked for their age, in ticks.
    pub slowest_until: u64,
    /// When trace functions were last removed, in ticks.
    untraced: u64,
}

/// How often a shared host removes the trace functions of its thread, in ns.
const UNTRACE: u64 = 1_000_000;

/// An event object. It also serves the next group if that group receives the same event next.
struct EventObject<'py> {
    seq: u64,
    depth: u32,
    object: Bound<'py, PyAny>,
}

/// What the deliveries of one round share.
struct Round<'py> {
    current: Option<EventObject<'py>>,
    /// Instances that failed during the current event.
    failed: Vec<u64>,
    /// Ticks at which the current callback starts: one clock reading a callback, since each starts where the previous
    /// one ended.
    started: u64,
}

/// The delivery of one event to the seats of one group.
struct Step<'a, 'py> {
    py: Python<'py>,
    shared: &'a HostShared,
    event: &'a Event,
    depth: u32,
    now: Nanos,
}

impl<'py> Step<'_, 'py> {
    /// Counts the event, updates `self.market` and `self.book`, and calls the callback if the seat has one.
    #[inline(always)]
    fn deliver(&self, seat: &mut Seat, objects: &mut Objects, round: &mut Round<'py>) {
        let event = self.event;
        let header = event.header();
        let instance = &*seat.instance;
        let stats = &instance.stats;
        let callback = seat.member.callbacks[header.kind as usize].as_ref();
        if callback.is_some() && round.current.is_none() {
            match objects.make(self.py, event, self.depth) {
                Ok(object) => {
                    round.current = Some(EventObject { seq: header.seq, depth: self.depth, object });
                }
                Err(error) => {
                    round.failed.extend(seat.failure(self.py, self.shared, header.kind.name(), &error));
                    return;
                }
            }
        }
        // Making an object may run Python code, during which a stop may have changed the state.
        if instance.state() != State::Running {
            return;
        }
        stats.delivered[header.kind as usize].bump(1);
        let latency = clock::elapsed_ns(header.dispatched_ticks, round.started);
        let measured = stats.deliveries.of(header.provider);
        measured.latency.record(latency);
        instance.now.store(self.now, Ordering::Relaxed);
        // Not by a reading of the wall clock, which would cost more: the latency is known.
        instance.delivered_at.store(header.dispatched_time + latency as Nanos, Ordering::Relaxed);
        instance.observe(event);
        let (Some(callback), Some(EventObject { object, .. })) = (callback, &round.current) else { return };
        let begun = Begun { ticks: round.started, event: Some(event) };
        let call = || callback.call(self.py, object);
        let result = self.shared.watched(self.py, seat.turn(), begun, call);
        let ended = clock::ticks();
        let spent = clock::elapsed_ns(round.started, ended);
        measured.callback.record(spent);
        if latency + spent >= seat.watch_ns {
            seat.watch(self.shared, header, round.started, spent, latency + spent);
        }
        round.started = ended;
        match result {
            Ok(()) => seat.errors_in_a_row = 0,
            Err(error) => {
                round.failed.extend(seat.failure(self.py, self.shared, header.kind.name(), &error));
                round.started = clock::ticks();
            }
        }
    }
}

/// Starts the host's thread.
pub fn spawn(shared: Arc<HostShared>, name: &str) -> std::io::Result<std::thread::JoinHandle<()>> {
    let live = Live::new(&shared);
    python_thread(name).spawn(move || {
        live.adopt();
        let core = Arc::clone(&shared.core);
        shared.waker.adopt();
        let drains: Arc<dyn Drains> = Arc::<HostShared>::clone(&shared);
        core.barrier.enter(&drains);
        Python::attach(|py| {
            let run = AssertUnwindSafe(|| -> PyResult<()> {
                shared.ident.store(thread_ident(py)?, Ordering::Release);
                shared.thread.store(thread_number(), Ordering::Relaxed);
                let mut host = Loop::new(&shared);
                let hang = Hang;
                while host.step(py) {}
                std::mem::forget(hang);
                Ok(())
            });
            let reason = match catch_unwind(run) {
                Ok(Ok(())) => "the host's thread has ended".to_owned(),
                Ok(Err(error)) => format!("the host's thread failed: {error}"),
                Err(panic) => format!("the host's thread panicked: {}", panic_text(&*panic)),
            };
            shared.end(reason);
        });
        core.barrier.exit(&drains);
        drop(live);
    })
}

impl Loop {
    fn new(shared: &Arc<HostShared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            groups: Vec::new(),
            merge: Merge::new(if shared.event_clock { Rule::Common } else { Rule::Own }, shared.batch),
            ending: Vec::new(),
            round: 0,
            posts_wait: false,
            next_timer: Nanos::MAX,
            timers: Order::new(),
            starts: Share::default(),
            now: 0,
            objects: Objects::default(),
            slowest_until: 0,
            untraced: 0,
        }
    }

    /// One round: reads events or sleeps, runs commands, fires timers, delivers. False ends the thread.
    fn step(&mut self, py: Python<'_>) -> bool {
        let watermark = py.detach(|| self.read());
        self.round += 1;
        if self.shared.pending_commands.swap(false, Ordering::AcqRel) && !self.run_commands(py) {
            return false;
        }
        if self.shared.timers_changed.swap(false, Ordering::AcqRel) {
            self.take_timers();
        }
        if !self.shared.event_clock && self.next_timer != Nanos::MAX {
            let now = clock::monotonic();
            if now >= self.next_timer {
                self.fire_timers(py, now);
            }
        }
        if self.shared.posted.load(Ordering::Acquire) {
            self.call_posted(py);
        }
        self.deliver_all(py);
        self.call_ending(py);
        self.maintain_queues(py);
        if std::mem::take(&mut self.posts_wait) || !self.ending.is_empty() {
            self.shared.posted.store(true, Ordering::Release);
        }
        self.shared.set_done(self.merge.handed_out(watermark));
        true
    }

    /// Waits for events or commands, awake for a moment and then asleep, and starts a round; returns the watermark from
    /// before the read.
    fn read(&mut self) -> u64 {
        let (shared, groups, merge) = (&self.shared, &self.groups, &self.merge);
        if !merge.has_work() {
            let deadline = (!shared.event_clock && self.next_timer != Nanos::MAX).then(|| {
                let left = (self.next_timer - clock::monotonic()).max(0) as u64;
                Instant::now() + Duration::from_nanos(left)
            });
            let ready = || {
                merge.has_work()
                    || groups.iter().any(|group| group.queue.is_halted())
                    || shared.pending_commands.load(Ordering::Acquire)
                    || shared.timers_changed.load(Ordering::Acquire)
                    || shared.posted.load(Ordering::Acquire)
                    || shared.drain_to.load(Ordering::Acquire) > shared.done.load(Ordering::Acquire)
            };
            if !meltica_core::bus::spin(shared.spin, ready) {
                shared.waker.wait(deadline, ready);
            }
        }
        let watermark = shared.core.dispatcher.watermark();
        self.merge.read(watermark);
        watermark
    }

    /// Delivers the events of the round.
    pub fn deliver_all(&mut self, py: Python<'_>) {
        let mut round = Round { current: None, failed: Vec::new(), started: clock::ticks() };
        self.shared.round.store(round.started, Ordering::Relaxed);
        if round.started > self.slowest_until {
            self.expire_slowest(round.started);
        }
        if self.shared.shared_mode && clock::elapsed_ns(self.untraced, round.started) > UNTRACE {
            self.untraced = round.started;
            clear_tracing(py);
        }
        while let Some((index, item)) = self.merge.next(round.started) {
            let event = &*item;
            let header = event.header();
            if self.shared.event_clock {
                self.now = self.now.max(header.received_time);
                if self.now >= self.next_timer {
                    self.fire_timers(py, self.now);
                    round.started = clock::ticks();
                }
            }
            if self.shared.posted.load(Ordering::Acquire) {
                self.call_posted(py);
                round.started = clock::ticks();
                self.merge.skip_time(round.started);
            }
            let group = &mut self.groups[index];
            let depth = if header.kind == Kind::BookSnapshot { group.signature.depth } else { 0 };
            if round
                .current
                .as_ref()
                .is_some_and(|current| (current.seq, current.depth) != (header.seq, depth))
                && let Some(current) = round.current.take()
            {
                self.objects.take_back(current.object);
            }
            let step = Step { py, shared: &self.shared, event, depth, now: self.now };
            let origin = match &event.payload {
                Payload::Extension(extension) => extension.origin(),
                _ => 0,
            };
            for seat in &mut group.seats {
                let skipped = header.seq <= seat.since || seat.instance.number == origin;
                if !skipped {
                    step.deliver(seat, &mut self.objects, &mut round);
                }
            }
            if !round.failed.is_empty() {
                for number in std::mem::take(&mut round.failed) {
                    self.stop(py, number, State::Failed);
                }
                round.started = clock::ticks();
            }
        }
        if let Some(current) = round.current {
            self.objects.take_back(current.object);
        }
    }

    /// Ends an instance at once: stops its events, then runs `on_stop`.
    pub fn stop(&mut self, py: Python<'_>, number: u64, end: State) {
        if let Some(seat) = self.take_seat(number) {
            self.finish(py, seat, end);
        }
    }

    /// Ends the events of an instance.
    pub fn take_seat(&mut self, number: u64) -> Option<Seat> {
        let found = self.groups.iter().enumerate().find_map(|(g, group)| {
            group.seats.iter().position(|seat| seat.instance.number == number).map(|s| (g, s))
        });
        let (g, s) = found?;
        let group = &mut self.groups[g];
        count_losses(group);
        // A round refers to groups by index, so `maintain_queues` removes an empty group later.
        let mut seat = group.seats.remove(s);
        seat.leave_order(&mut self.timers);
        seat.instance.enter(State::Stopping);
        seat.instance.leave();
        Some(seat)
    }

    /// Runs `on_stop`, after the last event.
    pub fn finish(&self, py: Python<'_>, mut seat: Seat, end: State) {
        if let Some(on_stop) = &seat.member.on_stop {
            let result = self.shared.watched(py, seat.turn(), Begun::now(), || call(on_stop.bind(py), &[]));
            if let Err(error) = result {
                let _ = seat.failure(py, &self.shared, "on_stop", &error);
            }
        }
        self.shared.entered.leave(py);
        clear_tracing(py);
        seat.instance.clear();
        let discarded = seat.instance.stats.discarded_posts.get();
        if end == State::Stopped && discarded > 0 {
            *seat.instance.last_error.lock() =
                Some(format!("{discarded} posted functions were not called: the stop exceeded its timeout"));
            seat.instance.enter(State::Failed);
        } else {
            seat.instance.enter(end);
        }
        self.shared.core.ends.fetch_add(1, Ordering::Release);
    }

    /// Removes empty groups, counts losses, and ends instances that a full private lane has halted.
    fn maintain_queues(&mut self, py: Python<'_>) {
        for index in (0..self.groups.len()).rev() {
            if self.groups[index].seats.is_empty() {
                self.groups.remove(index);
                self.merge.remove(index);
            }
        }
        let mut halted = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            count_losses(group);
            if group.queue.is_halted() && !self.merge.reader_has_work(index) {
                halted.extend(group.seats.iter().map(|seat| Arc::clone(&seat.instance)));
            }
        }
        for instance in halted {
            let limit = super::PRIVATE_LIMIT;
            *instance.last_error.lock() =
                Some(format!("halted: more than {limit} private events were waiting"));
            self.stop(py, instance.number, State::Failed);
        }
    }
}
