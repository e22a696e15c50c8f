//! A panic on a host's thread: its instances fail and say why, the others go on.

use super::{Dice, PATIENCE, Plane, counting, errors, function, pause, start, state, stop};
use crate::instance::{PyInstance, State};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Returns a function that panics at its call number `at`, from 1. A panic that Python code has passed on continues on
/// the host's thread, when the host fetches it as an exception.
fn panics(py: Python<'_>, at: u64) -> Bound<'_, PyAny> {
    let calls = AtomicU64::new(0);
    function(py, move |_| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) + 1 < at, "on purpose");
        Ok(())
    })
}

fn last_error(instance: &Bound<'_, PyInstance>) -> String {
    instance.get().shared.last_error.lock().clone().unwrap_or_default()
}

#[test]
fn a_panic_at_a_random_event_fails_the_instances_of_its_host_alone() {
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
            let at = 1 + dice.roll(4);
            let culprit = plane.add(&host, "culprit", &panics(py, at), &[]);
            let neighbours = ["left", "right"].map(|id| plane.add(&host, id, &ignored, &[]));
            let failed = [&culprit, &neighbours[0], &neighbours[1]];
            failed.into_iter().for_each(start);
            let late = plane.add(&host, "late", &ignored, &[]);
            let (stopped, started) = (neighbours[0].clone().unbind(), late.clone().unbind());
            let turns = [(); 2].map(|()| dice.pause());
            py.detach(|| {
                thread::scope(|scope| {
                    scope.spawn(|| plane.publish(at + 2));
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
            published += at + 2;
            plane.drain(py);
            stop(&host, PATIENCE);
            for instance in [&culprit, &neighbours[1], &late] {
                assert_eq!(state(instance), State::Failed, "seed {seed}");
                let text = last_error(instance);
                assert!(text.contains("the host's thread panicked: on purpose"), "seed {seed}: {text}");
                let shared = &instance.get().shared;
                assert_eq!(shared.host.in_callback_ns(shared.number), 0, "no callback runs any more");
            }
            assert!(matches!(state(&neighbours[0]), State::Failed | State::Stopped), "seed {seed}");
            assert_eq!(plane.shared().barrier.len(), 1, "seed {seed}: a host that ended leaves the list");
        }
        assert_eq!((received.load(Ordering::Relaxed), errors(&safe)), (published, 0));
        assert_eq!(state(&safe), State::Running);
        assert!(stop(&safe_host, PATIENCE));
        plane.assert_idle(py);
    });
}

#[test]
fn a_panic_in_on_start_is_the_result_of_the_start() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "panic-at-start");
        let host = plane.host(py, "thread");
        let ignored = counting(py, &Arc::default());
        let instance = plane.add(&host, "culprit", &ignored, &[("on_start", panics(py, 1))]);
        let error = instance.call_method0("start").expect_err("a refusal").to_string();
        assert!(error.contains("the host's thread has ended"), "{error}");
        assert_eq!(state(&instance), State::Failed);
        assert!(last_error(&instance).contains("panicked: on purpose"));
        let late = plane.host(py, "thread");
        stop(&host, PATIENCE);
        assert!(stop(&late, PATIENCE), "a host without a thread stops");
        plane.assert_idle(py);
    });
}
