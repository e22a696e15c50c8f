//! The threads that run callbacks.
//!
//! A host owns one thread that stays attached to the interpreter and lets it go only to sleep or to read its queues.
//! Each batch is read without the interpreter, merged by sequence where several queues feed the host, and delivered
//! event by event: one Python object per event, then every member's callback.

use crate::book::BookBody;
use crate::call::{Callback, absorb_pending, raise_in_thread, references, thread_ident};
use crate::core::CoreShared;
use crate::errors::LambdaError;
use crate::events::{Body, copy, make};
use crate::instance::{InstanceShared, State, lock};
use meltica_core::bus::{Item, Policies, Queue, Reader, Waker};
use meltica_core::clock::{self, Anchor};
use meltica_core::dispatch::{RouteKey, SubscriptionId};
use meltica_core::event::{Kind, Nanos, Payload};
use meltica_core::pool::Reservation;
use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// Members of a shared host whose queues would hold the same events share one.
#[derive(Clone, PartialEq)]
pub struct Signature {
    pub policies: Policies,
    pub capacity: usize,
    pub depth: u32,
    pub routes: Vec<RouteKey>,
    pub filtered: bool,
}

/// What the host's thread keeps of an instance.
pub struct Member {
    pub callbacks: [Option<Callback>; Kind::COUNT],
    pub on_start: Option<Py<PyAny>>,
    pub on_stop: Option<Py<PyAny>>,
    pub on_error: Option<Py<PyAny>>,
    pub max_errors: u64,
    pub slow_ns: u64,
}

type Reply = mpsc::Sender<PyResult<()>>;

/// What other threads ask of a host.
pub enum Command {
    Start(Arc<InstanceShared>, Reply),
    Stop(Arc<InstanceShared>, mpsc::Sender<()>),
    End,
}

/// What a host shares with the rest.
pub struct HostShared {
    pub shared_mode: bool,
    pub event_clock: bool,
    batch: usize,
    core: Arc<CoreShared>,
    waker: Arc<Waker>,
    commands: Mutex<VecDeque<Command>>,
    pending_commands: AtomicBool,
    timers_changed: AtomicBool,
    /// Everything up to this number that was routed here has been handled.
    done: AtomicU64,
    drain_to: AtomicU64,
    drained: (Mutex<()>, Condvar),
    ended: AtomicBool,
    ident: AtomicU64,
    /// Whether an exception was raised in the thread that may not have come out of it yet.
    interrupted: AtomicBool,
    /// Number of the instance whose callback runs, 0 between callbacks.
    current: AtomicU64,
    /// When that callback began, in ticks.
    started: AtomicU64,
}

impl HostShared {
    pub fn new(core: Arc<CoreShared>, shared_mode: bool, event_clock: bool, batch: usize) -> Arc<Self> {
        Arc::new(Self {
            shared_mode,
            event_clock,
            batch,
            core,
            waker: Arc::default(),
            commands: Mutex::default(),
            pending_commands: AtomicBool::new(false),
            timers_changed: AtomicBool::new(false),
            done: AtomicU64::new(0),
            drain_to: AtomicU64::new(0),
            drained: (Mutex::default(), Condvar::new()),
            ended: AtomicBool::new(false),
            ident: AtomicU64::new(0),
            interrupted: AtomicBool::new(false),
            current: AtomicU64::new(0),
            started: AtomicU64::new(0),
        })
    }

    pub fn send(&self, command: Command) {
        let mut commands = lock(&self.commands);
        if self.ended.load(Ordering::Acquire) {
            return;
        }
        commands.push_back(command);
        self.pending_commands.store(true, Ordering::Release);
        drop(commands);
        self.waker.wake();
    }

    /// Most events of one lane that are read at once.
    pub fn batch(&self) -> usize {
        self.batch
    }

    pub fn timers_changed(&self) {
        self.timers_changed.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Waiting on one's own thread would never end.
    pub fn refuse_own_thread(&self, py: Python<'_>, what: &str) -> PyResult<()> {
        if self.ident.load(Ordering::Acquire) == thread_ident(py)? {
            return Err(LambdaError::new_err(format!(
                "{what} was called from the host's own thread, in a callback"
            )));
        }
        Ok(())
    }

    /// Raises `exception` in the callback of instance `number` if it is the one that runs.
    pub fn interrupt(&self, py: Python<'_>, exception: &Bound<'_, PyAny>, number: u64) {
        if self.current.load(Ordering::Acquire) == number {
            self.interrupted.store(true, Ordering::Release);
            raise_in_thread(py, self.ident.load(Ordering::Acquire), exception);
        }
    }

    /// Makes a call of instance `number`, begun at `started`, which others can see and interrupt meanwhile.
    #[inline]
    fn watched<R>(&self, number: u64, started: u64, call: impl FnOnce() -> R) -> R {
        self.started.store(started, Ordering::Relaxed);
        self.current.store(number, Ordering::Release);
        let result = call();
        self.current.store(0, Ordering::Release);
        result
    }

    /// Lets an interrupt come out that may still be pending. On the host's own thread.
    fn settle_interrupt(&self, py: Python<'_>) {
        if self.interrupted.swap(false, Ordering::AcqRel) {
            absorb_pending(py);
        }
    }

    /// How long the present callback of instance `number` has been running, 0 when it is not.
    pub fn in_callback_ns(&self, number: u64) -> u64 {
        if self.current.load(Ordering::Acquire) != number {
            return 0;
        }
        clock::elapsed_ns(self.started.load(Ordering::Relaxed), clock::ticks())
    }

    /// Whether everything up to `seq` that was routed here has been handled.
    pub fn wait_drained(&self, seq: u64, deadline: Option<Instant>) -> bool {
        self.drain_to.fetch_max(seq, Ordering::AcqRel);
        self.waker.wake();
        let mut guard = lock(&self.drained.0);
        while self.done.load(Ordering::Acquire) < seq && !self.ended.load(Ordering::Acquire) {
            let slice = Duration::from_millis(50);
            let left = deadline.map_or(slice, |d| d.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return false;
            }
            guard =
                self.drained.1.wait_timeout(guard, left.min(slice)).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn set_done(&self, seq: u64) {
        if seq > self.done.load(Ordering::Relaxed) {
            self.done.store(seq, Ordering::Release);
            if self.drain_to.load(Ordering::Acquire) != 0 {
                drop(lock(&self.drained.0));
                self.drained.1.notify_all();
            }
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Cuts a stuck instance off: nothing more is routed to it.
    pub fn abandon(&self, instance: &InstanceShared) {
        self.core.cut_off(instance.number);
    }
}

struct Timer {
    due: Option<Nanos>,
    period: Nanos,
    function: Py<PyAny>,
    cancelled: Arc<AtomicBool>,
}

struct Seat {
    instance: Arc<InstanceShared>,
    member: Member,
    /// Events up to this number came before the instance.
    since: u64,
    errors_in_a_row: u64,
    timers: Vec<Timer>,
    /// What the queue had lost before: (conflated, dropped) per kind.
    lost_before: [(u64, u64); Kind::COUNT],
    _reservation: Reservation,
}

struct Group {
    signature: Signature,
    reader: Reader,
    subscription: SubscriptionId,
    seats: Vec<Seat>,
}

/// An event on the way to the seats of one group.
struct Delivery {
    seq: u64,
    group: usize,
    item: Item,
}

/// The thread's own state.
struct Loop {
    shared: Arc<HostShared>,
    groups: Vec<Group>,
    batch: Vec<Delivery>,
    /// What is numbered higher waits for a queue that had more than one batch.
    safe: u64,
    scratch: Vec<Item>,
    /// The earliest due timer, on the host's clock.
    next_timer: Nanos,
    now: Nanos,
    anchor: Anchor,
}

/// Starts the host's thread.
pub fn spawn(shared: Arc<HostShared>, name: &str) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        Python::attach(|py| {
            if let Ok(ident) = thread_ident(py) {
                shared.ident.store(ident, Ordering::Release);
            }
            let mut host = Loop {
                shared: Arc::clone(&shared),
                groups: Vec::new(),
                batch: Vec::new(),
                safe: 0,
                scratch: Vec::new(),
                next_timer: Nanos::MAX,
                now: 0,
                anchor: Anchor::now(),
            };
            while host.step(py) {}
            drop(host);
            let mut commands = lock(&shared.commands);
            shared.ended.store(true, Ordering::Release);
            commands.clear();
            drop(commands);
            shared.drained.1.notify_all();
        });
    })
}

impl Loop {
    /// One round: sleep or read, obey, fire, deliver. False ends the thread.
    fn step(&mut self, py: Python<'_>) -> bool {
        let watermark = py.detach(|| self.read());
        if self.shared.pending_commands.swap(false, Ordering::AcqRel) {
            loop {
                let command = lock(&self.shared.commands).pop_front();
                match command {
                    Some(Command::Start(instance, reply)) => {
                        let result = self.start(py, &instance);
                        if result.is_err() {
                            instance.clear();
                        }
                        let _ = reply.send(result);
                    }
                    Some(Command::Stop(instance, reply)) => {
                        self.deliver_all(py);
                        self.stop(py, instance.number, State::Stopped);
                        let _ = reply.send(());
                    }
                    Some(Command::End) => {
                        while let Some(seat) = self.groups.iter().find_map(|g| g.seats.first()) {
                            let number = seat.instance.number;
                            self.stop(py, number, State::Stopped);
                        }
                        return false;
                    }
                    None => break,
                }
            }
        }
        if self.shared.timers_changed.swap(false, Ordering::AcqRel) {
            self.take_timers();
        }
        if !self.shared.event_clock && self.next_timer != Nanos::MAX {
            let now = clock::wall();
            if now >= self.next_timer {
                self.fire_timers(py, now);
            }
        }
        self.deliver_all(py);
        self.look_after_queues(py);
        if self.batch.is_empty() && self.groups.iter().all(|g| !g.reader.has_work()) {
            self.shared.set_done(watermark);
        }
        true
    }

    /// Sleeps until there is something to do and reads a batch; returns the watermark read before it.
    fn read(&mut self) -> u64 {
        let shared = &self.shared;
        let groups = &mut self.groups;
        if self.batch.is_empty() {
            let deadline = (!shared.event_clock && self.next_timer != Nanos::MAX).then(|| {
                let left = (self.next_timer - clock::wall()).max(0) as u64;
                Instant::now() + Duration::from_nanos(left)
            });
            shared.waker.wait(deadline, || {
                groups.iter().any(|g| g.reader.has_work() || g.reader.queue().is_halted())
                    || shared.pending_commands.load(Ordering::Acquire)
                    || shared.timers_changed.load(Ordering::Acquire)
                    || shared.drain_to.load(Ordering::Acquire) > shared.done.load(Ordering::Acquire)
            });
        }
        let watermark = shared.core.dispatcher.watermark();
        self.safe = watermark;
        for (group, queue) in groups.iter_mut().enumerate() {
            self.safe = self.safe.min(queue.reader.read(watermark, shared.batch, &mut self.scratch));
            self.batch.extend(self.scratch.drain(..).map(|item| Delivery {
                seq: item.header().seq,
                group,
                item,
            }));
        }
        if groups.len() > 1 {
            self.batch.sort_by_key(|delivery| delivery.seq);
        }
        watermark
    }

    fn deliver_all(&mut self, py: Python<'_>) {
        // An object made for one group serves the next one too, when its event follows at once.
        let mut made: Option<(u64, u32, Bound<'_, PyAny>)> = None;
        let mut batch = std::mem::take(&mut self.batch);
        let ready = batch.partition_point(|delivery| delivery.seq <= self.safe);
        let mut failed = Vec::new();
        for delivery in &batch[..ready] {
            let event = &*delivery.item;
            let header = event.header();
            if self.shared.event_clock {
                self.now = self.now.max(header.received_time);
                if self.now >= self.next_timer {
                    self.fire_timers(py, self.now);
                }
            }
            let group = &mut self.groups[delivery.group];
            let depth = if header.kind == Kind::BookSnapshot { group.signature.depth } else { 0 };
            if made.as_ref().is_some_and(|(seq, d, _)| (*seq, *d) != (delivery.seq, depth)) {
                finish(made.take());
            }
            let mut started = clock::ticks();
            let wall = self.anchor.wall_at(started);
            for seat in &mut group.seats {
                let instance = &*seat.instance;
                if delivery.seq <= seat.since || instance.state() != State::Running {
                    continue;
                }
                if let Payload::Extension(extension) = &event.payload
                    && extension.origin == instance.number
                {
                    continue;
                }
                let stats = &instance.stats;
                stats.delivered[header.kind as usize].bump(1);
                stats.latency.record(clock::elapsed_ns(header.dispatched_ticks, started));
                instance.now.store(self.now, Ordering::Relaxed);
                if instance.keep_market || instance.keep_book {
                    instance.observe(event);
                }
                let Some(callback) = &seat.member.callbacks[header.kind as usize] else { continue };
                if made.is_none() {
                    let body = match &event.payload {
                        Payload::Book(book) => Body::Book(BookBody::slot(book.clone(), depth)),
                        payload => Body::Plain(copy(payload)),
                    };
                    match make(py, *header, body) {
                        Ok(object) => made = Some((delivery.seq, depth, object)),
                        Err(error) => {
                            failed.extend(seat.failure(py, header.kind.name(), &error));
                            continue;
                        }
                    }
                }
                let Some((_, _, object)) = &made else { continue };
                instance.delivered_at.store(wall, Ordering::Relaxed);
                let result = self.shared.watched(instance.number, started, || callback.call(py, object));
                let ended = clock::ticks();
                let spent = clock::elapsed_ns(started, ended);
                stats.callback.record(spent);
                if spent >= seat.member.slow_ns {
                    stats.slow.bump(1);
                }
                started = ended;
                match result {
                    Ok(()) => seat.errors_in_a_row = 0,
                    Err(error) => failed.extend(seat.failure(py, header.kind.name(), &error)),
                }
            }
            for number in failed.drain(..) {
                self.stop(py, number, State::Failed);
            }
        }
        finish(made);
        // The slots go back here; the vector's room is kept.
        batch.drain(..ready);
        self.batch = batch;
    }

    fn start(&mut self, py: Python<'_>, instance: &Arc<InstanceShared>) -> PyResult<()> {
        let plan = lock(&instance.plan).take();
        let Some(plan) = plan else { return Err(LambdaError::new_err("the instance was started already")) };
        instance.now.store(self.now, Ordering::Relaxed);
        if let Some(on_start) = &plan.member.on_start {
            let result = self.shared.watched(instance.number, clock::ticks(), || on_start.call0(py));
            if let Err(error) = result {
                *lock(&instance.last_error) = Some(error.to_string());
                instance.set_state(State::Failed);
                return Err(error);
            }
        }
        let seat = Seat {
            instance: Arc::clone(instance),
            member: plan.member,
            since: 0,
            errors_in_a_row: 0,
            timers: Vec::new(),
            lost_before: [(0, 0); Kind::COUNT],
            _reservation: plan.reservation,
        };
        instance.set_state(State::Running);
        let dispatcher = &self.shared.core.dispatcher;
        let mates = |g: &&mut Group| !g.signature.filtered && g.signature == plan.signature;
        if let Some(group) = self.groups.iter_mut().find(mates) {
            let since = dispatcher.watermark();
            self.shared.core.join(instance.number, group.reader.queue(), group.subscription);
            let lost_before = Kind::ALL.map(|kind| losses(group.reader.queue(), kind));
            group.seats.push(Seat { since, lost_before, ..seat });
        } else {
            let signature = plan.signature;
            let (queue, reader) = Queue::new(
                signature.policies,
                signature.capacity,
                crate::core::PRIVATE_LIMIT,
                Arc::clone(&self.shared.waker),
            );
            let (subscription, _) = dispatcher.subscribe(&queue, plan.routes);
            self.shared.core.join(instance.number, &queue, subscription);
            self.groups.push(Group { signature, reader, subscription, seats: vec![seat] });
        }
        self.take_timers();
        Ok(())
    }

    /// Ends an instance: its flow first, then `on_stop`.
    fn stop(&mut self, py: Python<'_>, number: u64, end: State) {
        let found = self.groups.iter().enumerate().find_map(|(g, group)| {
            group.seats.iter().position(|seat| seat.instance.number == number).map(|s| (g, s))
        });
        let Some((g, s)) = found else { return };
        let group = &mut self.groups[g];
        count_losses(group);
        let mut seat = group.seats.remove(s);
        seat.instance.set_state(State::Stopping);
        if group.seats.is_empty() {
            self.shared.core.dispatcher.unsubscribe(group.subscription);
            group.reader.queue().close();
            // Indices of deliveries in hand must stay good: the empty group goes in `look_after_queues`.
        }
        self.shared.core.leave(number);
        // An interrupt that came too late for its callback is not `on_stop`'s, nor anybody's after it.
        self.shared.settle_interrupt(py);
        if let Some(on_stop) = &seat.member.on_stop {
            let result = self.shared.watched(number, clock::ticks(), || on_stop.call0(py));
            if let Err(error) = result {
                let _ = seat.failure(py, "on_stop", &error);
            }
        }
        self.shared.settle_interrupt(py);
        seat.instance.clear();
        if seat.instance.state() != State::Stuck {
            seat.instance.set_state(end);
        }
    }

    /// Removes groups that nobody sits in, counts losses, and ends what a full private lane has halted.
    fn look_after_queues(&mut self, py: Python<'_>) {
        if self.batch.is_empty() {
            self.groups.retain(|group| !group.seats.is_empty());
        }
        let mut halted = Vec::new();
        for group in &self.groups {
            count_losses(group);
            if group.reader.queue().is_halted() && !group.reader.has_work() {
                halted.extend(group.seats.iter().map(|seat| Arc::clone(&seat.instance)));
            }
        }
        for instance in halted {
            let limit = crate::core::PRIVATE_LIMIT;
            *lock(&instance.last_error) =
                Some(format!("halted: more than {limit} private events were waiting for it"));
            self.stop(py, instance.number, State::Failed);
        }
    }

    fn take_timers(&mut self) {
        for seat in self.groups.iter_mut().flat_map(|g| &mut g.seats) {
            for request in lock(&seat.instance.timers).drain(..) {
                let now = if self.shared.event_clock { self.now } else { clock::wall() };
                // In replay the clock starts with the first event.
                let due = (now != 0).then(|| now.saturating_add(request.period));
                seat.timers.push(Timer {
                    due,
                    period: request.period,
                    function: request.function,
                    cancelled: request.cancelled,
                });
            }
        }
        self.plan_timers();
    }

    fn plan_timers(&mut self) {
        let timers = self.groups.iter().flat_map(|g| &g.seats).flat_map(|s| &s.timers);
        self.next_timer = timers.map(|t| t.due.unwrap_or(0)).min().unwrap_or(Nanos::MAX);
    }

    /// Fires what is due by `now`, in order of due time, then of instance and age.
    fn fire_timers(&mut self, py: Python<'_>, now: Nanos) {
        let mut failed = Vec::new();
        loop {
            let mut earliest: Option<(Nanos, usize, usize, usize)> = None;
            for (g, group) in self.groups.iter_mut().enumerate() {
                for (s, seat) in group.seats.iter_mut().enumerate() {
                    seat.timers.retain(|t| !t.cancelled.load(Ordering::Relaxed));
                    for (t, timer) in seat.timers.iter_mut().enumerate() {
                        let due = *timer.due.get_or_insert(now.saturating_add(timer.period));
                        if due <= now && earliest.is_none_or(|(first, ..)| due < first) {
                            earliest = Some((due, g, s, t));
                        }
                    }
                }
            }
            let Some((due, g, s, t)) = earliest else { break };
            let seat = &mut self.groups[g].seats[s];
            let timer = &mut seat.timers[t];
            // Live, a late timer does not catch up beat by beat; in replay every beat counts.
            let next = due + timer.period;
            timer.due = Some(if self.shared.event_clock || next > now { next } else { now + timer.period });
            let function = timer.function.clone_ref(py);
            seat.instance.now.store(if self.shared.event_clock { due } else { now }, Ordering::Relaxed);
            let result = self.shared.watched(seat.instance.number, clock::ticks(), || function.call0(py));
            match result {
                Ok(_) => seat.errors_in_a_row = 0,
                Err(error) => failed.extend(seat.failure(py, "every", &error)),
            }
            for number in failed.drain(..) {
                self.stop(py, number, State::Failed);
            }
            if self.shared.timers_changed.swap(false, Ordering::AcqRel) {
                self.take_timers();
            }
        }
        self.plan_timers();
    }
}

/// Ends an object's time in callbacks: a book that somebody kept gives its slot back.
fn finish(made: Option<(u64, u32, Bound<'_, PyAny>)>) {
    let Some((_, _, object)) = made else { return };
    if references(&object) > 1
        && let Ok(event) = object.cast::<crate::events::PyEvent>()
        && let Body::Book(book) = &event.get().body
    {
        book.keep();
    }
}

fn losses(queue: &Queue, kind: Kind) -> (u64, u64) {
    let losses = queue.losses(kind);
    (losses.conflated.get(), losses.dropped.get())
}

fn count_losses(group: &Group) {
    for kind in Kind::ALL {
        let (conflated, dropped) = losses(group.reader.queue(), kind);
        if conflated + dropped > 0 {
            for seat in &group.seats {
                let (stats, before) = (&seat.instance.stats, seat.lost_before[kind as usize]);
                stats.conflated[kind as usize].store(conflated - before.0, Ordering::Relaxed);
                stats.dropped[kind as usize].store(dropped - before.1, Ordering::Relaxed);
            }
        }
    }
}

impl Seat {
    /// Counts and reports an exception; returns the instance's number when it was one too many.
    fn failure(&mut self, py: Python<'_>, callback: &str, error: &PyErr) -> Option<u64> {
        self.instance.stats.errors.bump(1);
        self.errors_in_a_row += 1;
        *lock(&self.instance.last_error) = Some(error.to_string());
        if let Some(on_error) = &self.member.on_error
            && let Err(second) = on_error.bind(py).call1((callback, error.clone_ref(py).into_value(py)))
        {
            second.write_unraisable(py, Some(on_error.bind(py)));
        }
        let stopped = error.is_instance_of::<crate::errors::LambdaStopped>(py);
        let too_many = self.member.max_errors > 0 && self.errors_in_a_row >= self.member.max_errors;
        (too_many && !stopped).then_some(self.instance.number)
    }
}
