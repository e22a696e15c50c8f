//! Interrupts: `LambdaStopped` is raised in the callback of its instance, or nowhere.

use super::{Dice, PATIENCE, Plane, code, counting, errors, function, pause, start, state, stop, wait_until};
use crate::change::PyChangeLock;
use crate::errors::{LambdaStopped, MelticaError};
use crate::instance::{PyInstance, State};
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

fn interrupt(py: Python<'_>, instance: &PyInstance) {
    let exception = py.get_type::<LambdaStopped>().into_any();
    instance.shared.host.interrupt(py, &exception, instance.shared.number);
}

/// Interrupts two of three instances of a shared host at random moments. One of them runs no Python code after such a
/// moment, so that the exception is still pending when its callback has returned.
#[test]
fn an_interrupt_at_a_random_moment_reaches_no_other_instance() {
    const TRADES: u64 = 2000;
    const INTERRUPTS: usize = 3000;
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "interrupts");
        let host = plane.host(py, "shared");
        let seed = AtomicU64::new(0);
        let lingers = function(py, move |py| {
            let dice = &mut Dice::new(seed.fetch_add(1, Ordering::Relaxed));
            py.detach(|| pause(dice.pause()));
            Ok(())
        });
        let policies = [("Trade", "block")].into_py_dict(py).expect("policies");
        let options = [("policies", policies.into_any())];
        let native = plane.add(&host, "native", &lingers, &options);
        let calls = Arc::new(AtomicU64::new(0));
        let body = c"def f(event):\n    linger()\n    for _ in range(3):\n        pass\n    count()\n";
        let names = [("linger", &lingers), ("count", &counting(py, &calls))];
        let innocent = plane.add(&host, "innocent", &code(py, body, &names), &options);
        let body = c"def f(event):\n    linger()\n    pass\n";
        let python = plane.add(&host, "python", &code(py, body, &names), &options);
        // In this order they receive each trade, so a pending exception would reach the innocent instance.
        let all = [&native, &innocent, &python];
        all.into_iter().for_each(start);
        let targets = [native.clone().unbind(), python.clone().unbind()];
        py.detach(|| {
            thread::scope(|scope| {
                scope.spawn(|| plane.publish(TRADES));
                for number in 0..INTERRUPTS {
                    pause(Dice::new(number as u64).pause());
                    Python::attach(|py| interrupt(py, targets[number % 2].bind(py).get()));
                }
            });
        });
        plane.drain(py);
        assert_eq!((errors(&innocent), calls.load(Ordering::Relaxed)), (0, TRADES));
        assert_eq!(errors(&native), 0, "the exception is absorbed");
        assert!(errors(&python) > 0, "an interrupt ends a callback that runs Python code");
        for instance in all {
            assert_eq!(state(instance), State::Running);
        }
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

#[test]
fn a_stop_ends_a_callback_that_loops() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "loops");
        let host = plane.host(py, "thread");
        let entered = Arc::new(AtomicBool::new(false));
        let enter = Arc::clone(&entered);
        let enters = function(py, move |_| {
            enter.store(true, Ordering::Release);
            Ok(())
        });
        let body = c"def f(event):\n    enter()\n    while True:\n        pass\n";
        let ended = Arc::new(AtomicU64::new(0));
        let looping = code(py, body, &[("enter", &enters)]);
        let instance = plane.add(&host, "loops", &looping, &[("on_stop", counting(py, &ended))]);
        start(&instance);
        py.detach(|| {
            plane.publish(2);
            wait_until(|| entered.load(Ordering::Acquire));
        });
        // As after the time-out of a stop, whose further patience is too short for a busy machine.
        assert!(instance.get().shared.enter(State::Stopping));
        interrupt(py, instance.get());
        assert!(stop(instance.as_any(), PATIENCE));
        assert_eq!(
            (state(&instance), errors(&instance)),
            (State::Stopped, 1),
            "the second trade is not delivered"
        );
        assert_eq!(ended.load(Ordering::Relaxed), 1);
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

/// Interrupts an instance at random moments whose callback changes a state in steps, under the lock of another thread.
#[test]
fn an_interrupt_never_splits_a_change() {
    const TRADES: u64 = 2000;
    const INTERRUPTS: usize = 3000;
    Python::initialize();
    Python::attach(|py| {
        let plane = Plane::new(py, "changes");
        let host = plane.host(py, "thread");
        let seed = AtomicU64::new(0);
        let lingers = function(py, move |py| {
            let dice = &mut Dice::new(seed.fetch_add(1, Ordering::Relaxed));
            py.detach(|| pause(dice.pause()));
            Ok(())
        });
        let lock = Bound::new(py, PyChangeLock::new()).expect("a lock");
        let names = PyDict::new(py);
        names.set_item("linger", &lingers).expect("a name");
        names.set_item("lock", &lock).expect("a name");
        let body = c"steps = []\ndef change(event=None):\n    for _ in range(3):\n        with lock:\n            \
                     steps.append(1)\n            linger()\n            steps.pop()\n        with lock.reading:\n            \
                     assert not steps\n";
        py.run(body, Some(&names), None).expect("the code");
        let change = names.get_item("change").expect("a dict").expect("the function");
        let policies = [("Trade", "block")].into_py_dict(py).expect("policies");
        let instance = plane.add(&host, "changes", &change, &[("policies", policies.into_any())]);
        start(&instance);
        let (target, rival) = (instance.clone().unbind(), change.unbind());
        py.detach(|| {
            thread::scope(|scope| {
                scope.spawn(|| plane.publish(TRADES));
                scope.spawn(|| {
                    for _ in 0..TRADES {
                        Python::attach(|py| rival.call0(py).map(drop)).expect("a change");
                    }
                });
                for number in 0..INTERRUPTS {
                    pause(Dice::new(number as u64).pause());
                    Python::attach(|py| interrupt(py, target.bind(py).get()));
                }
            });
        });
        plane.drain(py);
        assert!(errors(&instance) > 0, "an interrupt is raised after the change");
        assert!(lock.getattr("failure").expect("a failure").is_none(), "and not inside it");
        assert!(names.get_item("steps").expect("a dict").expect("a list").is_empty().expect("a list"));
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

#[test]
fn a_change_that_may_be_half_done_is_kept_as_failure() {
    Python::initialize();
    Python::attach(|py| {
        let lock = Bound::new(py, PyChangeLock::new()).expect("a lock");
        let names = PyDict::new(py);
        names.set_item("lock", &lock).expect("a name");
        names.set_item("Refused", py.get_type::<MelticaError>()).expect("a name");
        let body = c"def fail(block, kind):\n    try:\n        with block:\n            raise kind('x')\n    except kind:\n        \
                     pass\nfail(lock, Refused)\nfail(lock.reading, KeyError)\nassert lock.failure is None\nfail(lock, \
                     KeyboardInterrupt)\nfail(lock, ValueError)\nassert type(lock.failure) is KeyboardInterrupt\n";
        py.run(body, Some(&names), None).expect("the first failure, and no other");
        let released = lock.call_method1("__exit__", (py.None(), py.None(), py.None()));
        assert!(released.is_err(), "a lock that is not held is not released");
    });
}
