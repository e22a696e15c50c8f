//! Starts and stops: each instance reaches a final state, and keeps it.

use super::{Dice, PATIENCE, Plane, counting, errors, function, pause, start, state, stop, wait_until};
use crate::instance::{PyInstance, State};
use pyo3::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const FINAL: [State; 3] = [State::Stopped, State::Failed, State::Stuck];

/// Starts and stops instances at random moments, in a host that they share with an innocent one.
#[test]
fn stops_at_random_moments_end_in_a_final_state() {
    const ROUNDS: u64 = 300;
    const TRADES: u64 = 3;
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "random-stops");
        let host = plane.host(py, "shared");
        let received = Arc::new(AtomicU64::new(0));
        let innocent = plane.add(&host, "innocent", &counting(py, &received), &[]);
        start(&innocent);
        for seed in 0..ROUNDS {
            let dice = &mut Dice::new(seed);
            let pauses = [(); 3].map(|()| dice.pause());
            let lingers = pauses.map(|turns| {
                function(py, move |py| {
                    py.detach(|| pause(turns));
                    Ok(())
                })
            });
            let [on_trade, on_start, on_stop] = lingers;
            let options = [("on_start", on_start), ("on_stop", on_stop)];
            let instance = plane.add(&host, "restless", &on_trade, &options);
            race(py, &plane, &instance, TRADES, dice);
            plane.drain(py);
            assert!(FINAL.contains(&state(&instance)), "seed {seed}: {:?}", state(&instance));
        }
        assert_eq!(errors(&innocent), 0);
        assert_eq!(received.load(Ordering::Relaxed), ROUNDS * TRADES, "the innocent instance receives all");
        assert!(stop(&host, PATIENCE));
        assert_eq!(state(&innocent), State::Stopped);
        plane.assert_idle(py);
    });
}

/// Starts an instance, publishes, and stops the instance twice, on four threads.
fn race(py: Python<'_>, plane: &Plane, instance: &Bound<'_, PyInstance>, trades: u64, dice: &mut Dice) {
    let pauses = [(); 4].map(|()| dice.pause());
    let timeouts = [(); 2].map(|()| if dice.roll(3) == 0 { PATIENCE } else { 0.0 });
    let instance = instance.clone().unbind();
    py.detach(|| {
        thread::scope(|scope| {
            scope.spawn(|| {
                pause(pauses[0]);
                Python::attach(|py| {
                    let stopped = instance.bind(py).call_method0("start").err();
                    assert!(stopped.is_none_or(|error| error.to_string().contains("not started: it ")));
                });
            });
            scope.spawn(|| {
                pause(pauses[1]);
                plane.publish(trades);
            });
            for (turns, timeout) in pauses[2..].iter().zip(timeouts) {
                let instance = &instance;
                scope.spawn(move || {
                    pause(*turns);
                    Python::attach(|py| stop(instance.bind(py).as_any(), timeout));
                });
            }
        });
    });
}

#[test]
fn a_stop_before_the_start_is_final() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "early-stop");
        let host = plane.host(py, "thread");
        let calls = Arc::new(AtomicU64::new(0));
        let on_start = counting(py, &calls);
        let instance = plane.add(&host, "early", &on_start.clone(), &[("on_start", on_start)]);
        assert!(stop(instance.as_any(), 0.0));
        let refused = instance.call_method0("start").expect_err("a refusal").to_string();
        assert!(refused.contains("instance early not started: it is stopped"), "{refused}");
        assert_eq!((state(&instance), calls.load(Ordering::Relaxed)), (State::Stopped, 0));
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

#[test]
fn a_start_that_fails_frees_what_it_reserved() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "failed-start");
        let host = plane.host(py, "shared");
        let fails = function(py, |_| Err(pyo3::exceptions::PyValueError::new_err("on purpose")));
        let instance = plane.add(&host, "fails", &fails.clone(), &[("on_start", fails)]);
        let error = instance.call_method0("start").expect_err("the error of on_start").to_string();
        assert_eq!((error.as_str(), state(&instance)), ("ValueError: on purpose", State::Failed));
        py.detach(|| plane.publish(3));
        plane.drain(py);
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

/// A callback that ignores the interrupt leaves its instance stuck; its return neither revives the instance nor blocks
/// the others of its host.
#[test]
fn a_callback_that_outlasts_its_stop_is_stuck_until_it_returns() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "stuck");
        let host = plane.host(py, "shared");
        let (entered, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (enter, release) = (Arc::clone(&entered), Arc::clone(&released));
        let blocks = function(py, move |py| {
            enter.store(true, Ordering::Release);
            py.detach(|| wait_until(|| release.load(Ordering::Acquire)));
            Ok(())
        });
        let ended = Arc::new(AtomicU64::new(0));
        let stubborn = plane.add(&host, "stubborn", &blocks, &[("on_stop", counting(py, &ended))]);
        let received = Arc::new(AtomicU64::new(0));
        let patient = plane.add(&host, "patient", &counting(py, &received), &[]);
        start(&stubborn);
        start(&patient);
        py.detach(|| {
            plane.publish(1);
            wait_until(|| entered.load(Ordering::Acquire));
        });
        assert!(!stop(stubborn.as_any(), 0.0));
        assert_eq!(state(&stubborn), State::Stuck);
        assert!(stubborn.get().shared.host.in_callback_ns(stubborn.get().shared.number) > 0);
        released.store(true, Ordering::Release);
        py.detach(|| plane.publish(9));
        plane.drain(py);
        assert_eq!((state(&stubborn), ended.load(Ordering::Relaxed)), (State::Stuck, 1), "on_stop runs late");
        assert_eq!((received.load(Ordering::Relaxed), errors(&patient)), (10, 0));
        assert!(!stop(stubborn.as_any(), 0.0), "a stuck instance remains stuck");
        assert!(stop(patient.as_any(), PATIENCE));
        assert!(!stop(&host, PATIENCE), "the host does not wait for a thread that has been stuck");
        py.detach(|| wait_until(|| plane.shared().barrier.len() == 0));
        plane.assert_idle(py);
    });
}
