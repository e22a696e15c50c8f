//! A panic below a callback ends its instance; one of a host's thread ends the instances of the host. Each says why, and the
//! others go on.

use super::{Dice, PATIENCE, Plane, code, counting, errors, function, pause, start, state, stop, wait_until};
use crate::host::Command;
use crate::instance::{PyInstance, State};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Returns a function that panics.
fn panics(py: Python<'_>) -> Bound<'_, PyAny> {
    function(py, |_| panic!("on purpose"))
}

fn last_error(instance: &Bound<'_, PyInstance>) -> String {
    instance.get().shared.last_error.lock().clone().unwrap_or_default()
}

/// The panic reaches the host directly, or through Python code.
#[test]
fn a_panic_below_a_callback_fails_its_instance_alone() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "panic-below");
        let body = c"def f(event):\n    panics()\n";
        for on_trade in [panics(py), code(py, body, &[("panics", &panics(py))])] {
            let (host, received) = (plane.host(py, "shared"), Arc::default());
            let before = plane.add(&host, "before", &counting(py, &received), &[]);
            let culprit = plane.add(&host, "culprit", &on_trade, &[]);
            let after = plane.add(&host, "after", &counting(py, &received), &[]);
            [&before, &culprit, &after].into_iter().for_each(start);
            py.detach(|| plane.publish(3));
            plane.drain(py);
            assert_eq!(received.load(Ordering::Relaxed), 6);
            assert_eq!(
                [&before, &culprit, &after].map(state),
                [State::Running, State::Failed, State::Running]
            );
            assert!(
                last_error(&culprit).contains("the core panicked: on purpose"),
                "{}",
                last_error(&culprit)
            );
            assert_eq!([&before, &culprit, &after].map(errors), [0, 1, 0]);
            assert!(stop(&host, PATIENCE));
        }
        plane.assert_idle(py);
    });
}

#[test]
fn a_panic_of_a_posted_function_or_a_timer_fails_its_instance_alone() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "panic-posted");
        let ignored = counting(py, &Arc::default());
        for call in ["post", "every"] {
            let host = plane.host(py, "shared");
            let [culprit, neighbour] = ["culprit", "neighbour"].map(|id| plane.add(&host, id, &ignored, &[]));
            [&culprit, &neighbour].into_iter().for_each(start);
            let panics = panics(py);
            let called = match call {
                "post" => culprit.call_method1(call, (panics,)),
                _ => culprit.call_method1(call, (1e-6, panics)),
            };
            called.expect("an accepted function");
            let shared = Arc::clone(&culprit.get().shared);
            py.detach(|| wait_until(|| shared.state().has_ended()));
            assert_eq!([&culprit, &neighbour].map(state), [State::Failed, State::Running], "{call}");
            assert!(stop(&host, PATIENCE));
        }
        plane.assert_idle(py);
    });
}

#[test]
fn a_panic_in_on_start_is_the_result_of_the_start() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "panic-at-start");
        let host = plane.host(py, "shared");
        let received = Arc::default();
        let ignored = counting(py, &received);
        let neighbour = plane.add(&host, "neighbour", &ignored, &[]);
        start(&neighbour);
        let instance = plane.add(&host, "culprit", &ignored, &[("on_start", panics(py))]);
        let error = instance.call_method0("start").expect_err("a refusal").to_string();
        assert!(error.contains("the core panicked: on purpose"), "{error}");
        assert_eq!([&instance, &neighbour].map(state), [State::Failed, State::Running]);
        assert!(last_error(&instance).contains("panicked: on purpose"));
        py.detach(|| plane.publish(1));
        plane.drain(py);
        assert_eq!(received.load(Ordering::Relaxed), 1);
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

#[test]
fn a_panic_of_a_host_at_a_random_moment_fails_its_instances_alone() {
    const ROUNDS: u64 = 60;
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "panics");
        let received = Arc::new(AtomicU64::new(0));
        let safe_host = plane.host(py, "thread");
        let safe = plane.add(&safe_host, "safe", &counting(py, &received), &[]);
        start(&safe);
        let mut published = 0;
        for seed in 0..ROUNDS {
            let dice = &mut Dice::new(seed);
            let host = plane.host(py, "shared");
            let ignored = counting(py, &Arc::default());
            let events = 1 + dice.roll(4);
            let members = ["left", "middle", "right"].map(|id| plane.add(&host, id, &ignored, &[]));
            members.iter().for_each(start);
            let late = plane.add(&host, "late", &ignored, &[]);
            let (stopped, started) = (members[0].clone().unbind(), late.clone().unbind());
            let shared = Arc::clone(&members[0].get().shared.host);
            let turns = [(); 3].map(|()| dice.pause());
            py.detach(|| {
                thread::scope(|scope| {
                    scope.spawn(|| plane.publish(events));
                    scope.spawn(|| {
                        pause(turns[2]);
                        shared.send(Command::Panic);
                    });
                    // What waits for the thread is released.
                    scope.spawn(|| {
                        pause(turns[0]);
                        Python::attach(|py| stop(stopped.bind(py).as_any(), PATIENCE))
                    });
                    scope.spawn(|| {
                        pause(turns[1]);
                        Python::attach(|py| started.bind(py).call_method0("start").is_ok())
                    });
                });
            });
            published += events;
            plane.drain(py);
            stop(&host, PATIENCE);
            for instance in [&members[1], &members[2], &late] {
                assert_eq!(state(instance), State::Failed, "seed {seed}");
                let text = last_error(instance);
                assert!(text.contains("the host's thread panicked: on purpose"), "seed {seed}: {text}");
                let shared = &instance.get().shared;
                assert_eq!(shared.host.in_callback_ns(shared.number), 0, "no callback runs any more");
            }
            assert!(matches!(state(&members[0]), State::Failed | State::Stopped), "seed {seed}");
            assert_eq!(plane.shared().barrier.len(), 1, "seed {seed}: a host that ended leaves the list");
        }
        assert_eq!((received.load(Ordering::Relaxed), errors(&safe)), (published, 0));
        assert_eq!(state(&safe), State::Running);
        assert!(stop(&safe_host, PATIENCE));
        plane.assert_idle(py);
    });
}
