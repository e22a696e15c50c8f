//! A host's thread.

use super::objects::Objects;
use super::seat::{Group, Seat, count_losses, losses};
use super::{Command, HostShared};
use crate::call::thread_ident;
use crate::errors::LambdaError;
use crate::instance::{InstanceShared, State, lock};
use meltica_core::bus::{Item, Queue};
use meltica_core::clock::{self, Anchor};
use meltica_core::event::{Kind, Nanos, Payload};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// An event on the way to the seats of one group.
struct Delivery {
    seq: u64,
    group: usize,
    item: Item,
}

/// The thread's own state.
pub struct Loop {
    pub shared: Arc<HostShared>,
    pub groups: Vec<Group>,
    batch: Vec<Delivery>,
    /// What is numbered higher waits for a queue that had more than one batch.
    safe: u64,
    scratch: Vec<Item>,
    /// The earliest due timer, on the host's clock.
    pub next_timer: Nanos,
    pub now: Nanos,
    anchor: Anchor,
    objects: Objects,
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
                objects: Objects::default(),
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
        // One reading a callback: where one ends the next begins.
        let mut started = clock::ticks();
        for delivery in &batch[..ready] {
            let event = &*delivery.item;
            let header = event.header();
            if self.shared.event_clock {
                self.now = self.now.max(header.received_time);
                if self.now >= self.next_timer {
                    self.fire_timers(py, self.now);
                    started = clock::ticks();
                }
            }
            let group = &mut self.groups[delivery.group];
            let depth = if header.kind == Kind::BookSnapshot { group.signature.depth } else { 0 };
            if made.as_ref().is_some_and(|(seq, d, _)| (*seq, *d) != (delivery.seq, depth))
                && let Some((_, _, object)) = made.take()
            {
                self.objects.take_back(object);
            }
            let wall = self.anchor.wall_at(started);
            let origin =
                if let Payload::Extension(extension) = &event.payload { extension.origin } else { 0 };
            for seat in &mut group.seats {
                let instance = &*seat.instance;
                let left_out = delivery.seq <= seat.since || instance.number == origin;
                if left_out || instance.state() != State::Running {
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
                    match self.objects.make(py, event, depth) {
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
                    Err(error) => {
                        failed.extend(seat.failure(py, header.kind.name(), &error));
                        started = clock::ticks();
                    }
                }
            }
            for number in failed.drain(..) {
                self.stop(py, number, State::Failed);
                started = clock::ticks();
            }
        }
        if let Some((_, _, object)) = made {
            self.objects.take_back(object);
        }
        // The slots go back here; the vector's room is kept.
        batch.drain(..ready);
        self.batch = batch;
    }

    fn start(&mut self, py: Python<'_>, instance: &Arc<InstanceShared>) -> PyResult<()> {
        let plan = lock(&instance.plan).take();
        let Some(plan) = plan else {
            return Err(LambdaError::new_err("the instance was started already, or stopped before it was"));
        };
        instance.now.store(self.now, Ordering::Relaxed);
        if let Some(on_start) = &plan.member.on_start {
            let result = self.shared.watched(instance.number, clock::ticks(), || on_start.call0(py));
            self.shared.settle_interrupt(py);
            if let Err(error) = result {
                *lock(&instance.last_error) = Some(error.to_string());
                if !instance.change_state(State::Created, State::Failed) {
                    // A stop did not wait for it any longer; one that is stuck stays so.
                    instance.change_state(State::Stopping, State::Stopped);
                }
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
        if !instance.change_state(State::Created, State::Running) {
            self.finish(py, seat, State::Stopped);
            return Err(LambdaError::new_err(format!(
                "instance {} was stopped while it started",
                instance.id
            )));
        }
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
            let (subscription, change) = dispatcher.subscribe(&queue, plan.routes);
            self.shared.core.join(instance.number, &queue, subscription);
            self.shared.core.tell(py, &change);
            self.groups.push(Group { signature, reader, subscription, seats: vec![seat] });
        }
        self.take_timers();
        Ok(())
    }

    /// Ends an instance: its flow first, then `on_stop`.
    pub fn stop(&mut self, py: Python<'_>, number: u64, end: State) {
        let found = self.groups.iter().enumerate().find_map(|(g, group)| {
            group.seats.iter().position(|seat| seat.instance.number == number).map(|s| (g, s))
        });
        let Some((g, s)) = found else { return };
        let group = &mut self.groups[g];
        count_losses(group);
        let seat = group.seats.remove(s);
        seat.instance.set_state(State::Stopping);
        if group.seats.is_empty() {
            let change = self.shared.core.dispatcher.unsubscribe(group.subscription);
            group.reader.queue().close();
            self.shared.core.tell(py, &change);
            // Indices of deliveries in hand must stay good: the empty group goes in `look_after_queues`.
        }
        self.shared.core.leave(number);
        self.finish(py, seat, end);
    }

    /// Runs `on_stop`; nothing flows any more.
    fn finish(&self, py: Python<'_>, mut seat: Seat, end: State) {
        let number = seat.instance.number;
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
}
