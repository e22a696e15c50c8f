//! Runs what other threads request of a host: starts and stops of its instances.

use super::seat::{Group, Seat, losses};
use super::share::Share;
use super::thread::Loop;
use super::timers::Timers;
use super::trigger::Begun;
use super::{Command, Signature};
use crate::callback::call;
use crate::errors::LambdaError;
use crate::instance::{InstanceShared, Plan, State};
use crate::routes::Routes;
use meltica_core::bus::{Queue, Reader};
use meltica_core::clock;
use meltica_core::dispatch::Route;
use meltica_core::event::Kind;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Loop {
    /// Runs the requests that wait, in their order, until the share of starts is used up. Returns false if the thread ends.
    pub fn run_commands(&mut self, py: Python<'_>) -> bool {
        let limit = self.limit();
        while self.starts.has_room(limit) {
            let command = self.shared.commands.lock().pop_front();
            match command {
                Some(Command::Start(instance, plan, reply)) => {
                    let started = clock::ticks();
                    let result = self.start(py, &instance, *plan);
                    if result.is_err() {
                        instance.clear();
                    }
                    let _ = reply.send(result);
                    self.starts.spend(started);
                }
                Some(Command::Stop(instance, reply)) => {
                    self.deliver_all(py);
                    self.begin_stop(instance.number, State::Stopped, Some(reply));
                }
                Some(Command::End) => {
                    self.end_all(py);
                    return false;
                }
                #[cfg(test)]
                Some(Command::Panic) => panic!("on purpose"),
                None => return true,
            }
        }
        self.shared.pending_commands.store(true, Ordering::Release);
        true
    }

    fn start(&mut self, py: Python<'_>, instance: &Arc<InstanceShared>, plan: Plan) -> PyResult<()> {
        let stopped = |when: &str| {
            instance.enter(State::Stopped);
            let id = &instance.id;
            Err(LambdaError::new_err(format!("instance {id} not started: it was stopped {when}")))
        };
        instance.now.store(self.now, Ordering::Relaxed);
        if instance.state() != State::Starting {
            return stopped("before `on_start`");
        }
        if let Some(on_start) = &plan.member.on_start {
            let turn = (instance.number, &plan.member.context);
            let result = self.shared.watched(py, turn, Begun::now(), || call(on_start.bind(py), &[]));
            if let Err(error) = result {
                *instance.last_error.lock() = Some(error.to_string());
                // A `stop` may have timed out in the meantime. A stuck instance stays stuck.
                let end = if instance.state() == State::Starting { State::Failed } else { State::Stopped };
                instance.enter(end);
                let has_panicked = error.is_instance_of::<PanicException>(py);
                return Err(if has_panicked { LambdaError::new_err(error.to_string()) } else { error });
            }
        }
        let seat = Seat {
            instance: Arc::clone(instance),
            member: plan.member,
            since: 0,
            errors_in_a_row: 0,
            watch_ns: 0,
            timers: Timers::default(),
            posts: Share::default(),
            lost_before: [(0, 0); Kind::COUNT],
        };
        if !instance.enter(State::Running) {
            self.finish(py, seat, State::Stopped);
            return stopped("while `on_start` ran");
        }
        self.join(py, seat, plan.signature, plan.routes, plan.queue);
        self.take_timers();
        self.shared.posted.store(true, Ordering::Release);
        Ok(())
    }

    /// Adds a running instance to the group that reads the same events, or to a new one.
    fn join(
        &mut self,
        py: Python<'_>,
        seat: Seat,
        signature: Signature,
        routes: Vec<Route>,
        (queue, reader): (Arc<Queue>, Reader),
    ) {
        let instance = Arc::clone(&seat.instance);
        let mates = |g: &&mut Group| !g.signature.filtered && g.signature == signature;
        let found = self.groups.iter_mut().find(mates).and_then(|g| Some((g.routes.upgrade()?, g)));
        if let Some((routes, group)) = found {
            let since = self.shared.core.dispatcher.watermark();
            let lost_before = Kind::ALL.map(|kind| losses(&group.queue, kind));
            group.seats.push(Seat { since, lost_before, ..seat });
            *instance.routes.lock() = Some(routes);
            return;
        }
        let subscribed = Routes::subscribe(py, &self.shared.core.subscriptions, &queue, routes);
        let routes = Arc::downgrade(&subscribed);
        *instance.routes.lock() = Some(subscribed);
        self.groups.push(Group { signature, queue, routes, seats: vec![seat] });
        self.merge.push(reader);
    }
}
