//! What no event causes has a share of each round, so that the events of others, and stops, do not wait for it.

use super::{PATIENCE, Plane, counting, function, start, state, stop, wait_until};
use crate::host::Command;
use crate::instance::{PyInstance, State};
use pyo3::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};

/// Timers that are due at once, more than a share.
const TIMERS: u64 = 500;
/// Calls in a share.
const SHARE: u64 = 64;

fn get(number: &AtomicU64) -> u64 {
    number.load(Ordering::Relaxed)
}

/// Returns a function that stores, at its first call, how many `calls` came before; 0 until then, 1 for none.
fn noting<'py>(py: Python<'py>, calls: &Arc<AtomicU64>, at: &Arc<AtomicU64>) -> Bound<'py, PyAny> {
    let (calls, at) = (Arc::clone(calls), Arc::clone(at));
    function(py, move |_| {
        let _ = at.compare_exchange(0, 1 + get(&calls), Ordering::Relaxed, Ordering::Relaxed);
        Ok(())
    })
}

/// Calls `act` on the host's thread, then publishes a trade there: what `act` requests and the trade begin one round.
fn begin_round(
    py: Python<'_>,
    plane: &Arc<Plane>,
    instance: &Bound<'_, PyInstance>,
    act: impl Fn(Python<'_>) -> PyResult<()> + Send + Sync + 'static,
) {
    let plane = Arc::clone(plane);
    let begin = function(py, move |py| {
        act(py)?;
        py.detach(|| plane.publish(1));
        Ok(())
    });
    assert!(instance.call_method1("post", (begin,)).and_then(|done| done.extract::<bool>()).expect("a post"));
}

/// Starts timers of `instance` that call `beat` with their number.
fn start_timers(
    py: Python<'_>,
    instance: &Py<PyInstance>,
    beat: &Arc<impl Fn(u64) + Send + Sync + 'static>,
) -> PyResult<()> {
    for number in 0..TIMERS {
        let beat = Arc::clone(beat);
        let timer = function(py, move |_| {
            beat(number);
            Ok(())
        });
        instance.call_method1(py, "every", (1e-6, timer))?;
    }
    Ok(())
}

#[test]
fn timers_leave_each_round_to_the_events_and_timers_of_others() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Arc::new(Plane::new(py, "share-timers"));
        let host = plane.host(py, "shared");
        let [beats, at_event, at_timer] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
        let busy = plane.add(&host, "busy", &counting(py, &Arc::default()), &[]);
        let neighbour = plane.add(&host, "neighbour", &noting(py, &beats, &at_event), &[]);
        [&busy, &neighbour].into_iter().for_each(start);
        let order = Arc::new(Mutex::new(Vec::new()));
        let (count, firsts) = (Arc::clone(&beats), Arc::clone(&order));
        let is_later: Vec<_> = (0..TIMERS).map(|_| AtomicBool::new(false)).collect();
        let beat = Arc::new(move |number: u64| {
            if !is_later[number as usize].swap(true, Ordering::Relaxed) {
                count.fetch_add(1, Ordering::Relaxed);
                firsts.lock().expect("no panic").push(number);
            }
        });
        let [of, other] = [&busy, &neighbour].map(|instance| instance.clone().unbind());
        let timer = noting(py, &beats, &at_timer).unbind();
        begin_round(py, &plane, &busy, move |py| {
            start_timers(py, &of, &beat)?;
            other.call_method1(py, "every", (1e-6, &timer)).map(drop)
        });
        py.detach(|| wait_until(|| get(&at_event) > 0 && get(&at_timer) > 0 && get(&beats) == TIMERS));
        let (at_event, at_timer) = (get(&at_event) - 1, get(&at_timer) - 1);
        assert!(at_event <= SHARE, "an event came after {at_event} timers of another instance");
        assert!(at_timer < TIMERS, "a timer came after {at_timer} timers of another instance");
        assert!(order.lock().expect("no panic").iter().copied().eq(0..TIMERS), "timers keep their order");
        assert_eq!([&busy, &neighbour].map(state), [State::Running; 2]);
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

#[test]
fn a_stop_comes_before_the_timers_of_the_next_round() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Arc::new(Plane::new(py, "share-stop"));
        let host = plane.host(py, "shared");
        let [beats, at_stop] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let on_stop = noting(py, &beats, &at_stop);
        let busy = plane.add(&host, "busy", &counting(py, &Arc::default()), &[("on_stop", on_stop)]);
        start(&busy);
        let (reply, ended) = mpsc::channel();
        let (shared, count, reply) =
            (Arc::clone(&busy.get().shared), Arc::clone(&beats), Mutex::new(Some(reply)));
        let beat = Arc::new(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            if let Some(reply) = reply.lock().expect("no panic").take() {
                shared.host.send(Command::Stop(Arc::clone(&shared), reply));
            }
        });
        let of = busy.clone().unbind();
        begin_round(py, &plane, &busy, move |py| start_timers(py, &of, &beat));
        py.detach(move || ended.recv()).expect("a reply");
        let beats = get(&at_stop) - 1;
        assert!((1..=SHARE).contains(&beats), "the instance stopped after {beats} timers");
        assert_eq!(state(&busy), State::Stopped);
        assert!(stop(&host, PATIENCE));
        plane.assert_idle(py);
    });
}

#[test]
fn starts_leave_each_round_to_the_events_of_running_instances() {
    Python::initialize();
    Python::attach(|py| {
        let plane = Arc::new(Plane::new(py, "share-starts"));
        let host = plane.host(py, "shared");
        let [starts, at_event] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let running = plane.add(&host, "running", &noting(py, &starts, &at_event), &[]);
        start(&running);
        let small = 1u32.into_pyobject(py).expect("a number").into_any();
        let (ignored, on_start) = (counting(py, &Arc::default()), counting(py, &starts));
        let options = [("capacity", small), ("on_start", on_start)];
        let late: Vec<_> = (0..2 * SHARE).map(|_| plane.add(&host, "late", &ignored, &options)).collect();
        let queued: Vec<_> = late.iter().map(|instance| Arc::clone(&instance.get().shared)).collect();
        begin_round(py, &plane, &running, move |_| {
            queued.iter().try_for_each(|instance| instance.host.start(instance).map(drop))
        });
        py.detach(|| wait_until(|| get(&at_event) > 0 && get(&starts) == 2 * SHARE));
        let at_event = get(&at_event) - 1;
        assert!((1..=SHARE).contains(&at_event), "an event came after {at_event} starts");
        assert!(stop(&host, PATIENCE));
        assert!(late.iter().all(|instance| state(instance) == State::Stopped));
        plane.assert_idle(py);
    });
}
