//! `Host` as Python sees it: checks and compiles the declaration of an instance.

use super::{Command, HostShared, Member, PRIVATE_LIMIT, Signature, new_context, spawn};
use crate::barrier::Drains;
use crate::callback::Callback;
use crate::convert::{canonical, kind, value_error};
use crate::core::CoreShared;
use crate::errors::{CapacityError, LambdaError};
use crate::filter::Filters;
use crate::instance::{InstanceShared, Keep, Plan, PyInstance};
use crate::locks::{Lock, Rank};
use meltica_core::bus::{DEFAULT_POLICIES, OverflowPolicy, Policies, QueueOptions};
use meltica_core::dispatch::{Route, RouteKey};
use meltica_core::event::Kind;
use meltica_core::names::ProviderId;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

type Callbacks = [Option<Callback>; Kind::COUNT];

/// The thread of a host.
enum Thread {
    /// Not started: the host has no instance yet.
    None,
    Started(JoinHandle<()>),
    Joined,
}

/// One thread that runs callbacks, made by `Core.host`.
#[pyclass(module = "meltica._core", name = "Host", frozen, immutable_type)]
pub struct PyHost {
    shared: Arc<HostShared>,
    core: Arc<CoreShared>,
    thread: Lock<Thread>,
}

#[pymethods]
impl PyHost {
    /// `thread` or `shared`.
    #[getter]
    fn mode(&self) -> &'static str {
        if self.shared.shared_mode { "shared" } else { "thread" }
    }

    /// Id of the instance whose callback runs, and for how long, in ns; None between callbacks.
    #[getter]
    fn running(&self) -> Option<(String, u64)> {
        self.shared.running().map(|callback| (callback.lambda, callback.for_ns))
    }

    /// Id of the instance whose callback has run for longer than the limit of `Watch.supervise`; None otherwise.
    #[getter]
    fn blocked(&self) -> Option<String> {
        self.shared.blocked()
    }

    /// Makes an instance and reserves its slots; its callbacks run only after `Instance.start`.
    ///
    /// - `callbacks`: kind -> function of one event; the notices `BookGap` and `MarketStale` are kinds too
    /// - `routes`: (provider, kind, symbol), symbol None for every symbol
    /// - `filters`: kind -> (field, operator, value), of which all must match
    /// - `policies`: kind -> `conflate`, `drop_oldest` or `block`, when its queue is full
    /// - `capacity`: events in the queue, 1 to 1048576
    /// - `book_depth`: levels on each side of a book, 1 to 5000
    /// - `keep_market`, `keep_book`: keep the state that `Instance.market` and `Instance.book` return
    /// - `on_error`: called with the callback's name and the exception
    /// - `max_errors`: this many failed callbacks in a row stop the instance; 0 never does
    /// - `slow_ns`: a callback of at least this many ns counts as slow
    ///
    /// Raises `ValueError` for invalid values, `CapacityError` if the slots do not fit in memory, `LambdaError` for a
    /// second instance in a `thread` host.
    #[pyo3(signature = (
        id, *, callbacks, routes, filters = None, policies = None, capacity = 1024, book_depth = 25,
        keep_market = false, keep_book = false, on_start = None, on_stop = None, on_error = None, max_errors = 0,
        slow_ns = 100_000_000
    ))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
    fn add(
        &self,
        id: String,
        callbacks: &Bound<'_, PyDict>,
        routes: &Bound<'_, PyAny>,
        filters: Option<&Bound<'_, PyDict>>,
        policies: Option<HashMap<String, String>>,
        capacity: usize,
        book_depth: u32,
        keep_market: bool,
        keep_book: bool,
        on_start: Option<Py<PyAny>>,
        on_stop: Option<Py<PyAny>>,
        on_error: Option<Py<PyAny>>,
        max_errors: u64,
        slow_ns: u64,
    ) -> PyResult<PyInstance> {
        if !(1..=5000).contains(&book_depth) {
            return Err(value_error(format!("expected a book depth of 1 to 5000 levels, saw {book_depth}")));
        }
        if !(1..=1 << 20).contains(&capacity) {
            return Err(value_error(format!(
                "expected a queue capacity of 1 to 1048576 events, saw {capacity}"
            )));
        }
        let filters = filters.map(crate::filter::filters).transpose()?.unwrap_or_default();
        let routes = compile_routes(routes, &filters, book_depth)?;
        let signature = Signature {
            policies: compile_policies(policies.unwrap_or_default())?,
            capacity,
            depth: book_depth,
            routes: routes.iter().map(|route| route.key).collect(),
            filtered: !filters.is_empty(),
        };
        let py = callbacks.py();
        let callbacks = compile_callbacks(callbacks)?;
        let context = new_context(py)?;
        let member = Member { slow_ns, context, callbacks, on_start, on_stop, on_error, max_errors };
        let keep = Keep { market: keep_market, book: keep_book, depth: book_depth };
        self.seat(py, id, keep, signature, member, routes)
    }

    /// Stops every instance and the thread; False if a callback did not return, which leaves its instance `stuck`.
    ///
    /// `timeout` is in seconds, for each instance.
    #[pyo3(signature = (timeout = 5.0))]
    fn stop(&self, py: Python<'_>, timeout: f64) -> PyResult<bool> {
        let mut clean = true;
        for shared in self.shared.instances() {
            clean &= PyInstance { shared, core: Arc::clone(&self.core) }.stop(py, timeout)?;
        }
        self.shared.send(Command::End);
        if matches!(*self.thread.lock(), Thread::None) {
            return Ok(clean);
        }
        let deadline = Instant::now() + Duration::try_from_secs_f64(timeout).map_err(value_error)?;
        py.detach(|| {
            while !self.shared.has_ended() && clean && Instant::now() < deadline {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            if self.shared.has_ended() {
                let thread = std::mem::replace(&mut *self.thread.lock(), Thread::Joined);
                if let Thread::Started(thread) = thread {
                    let _ = thread.join();
                }
            }
        });
        Ok(clean && self.shared.has_ended())
    }
}

impl PyHost {
    pub fn new(core: &Arc<CoreShared>, shared: Arc<HostShared>) -> Self {
        let core = Arc::clone(core);
        Self { shared, core, thread: Lock::new(Rank::Thread, Thread::None) }
    }

    /// Reserves an instance's slots and makes it; starts the host's thread if this is the first.
    fn seat(
        &self,
        py: Python<'_>,
        id: String,
        keep: Keep,
        signature: Signature,
        member: Member,
        routes: Vec<Route>,
    ) -> PyResult<PyInstance> {
        let options = QueueOptions {
            policies: signature.policies,
            capacity: signature.capacity,
            batch: self.shared.batch(),
            private_limit: PRIVATE_LIMIT,
            depth: signature.depth,
        };
        // The pools may grow by many megabytes. Detached, and without a lock, for which attached threads might wait.
        let dispatcher = &self.core.dispatcher;
        let waker = Arc::clone(&self.shared.waker);
        let queue = py
            .detach(|| dispatcher.queue(options, &signature.routes, waker))
            .map_err(|error| CapacityError::new_err(format!("instance {id} not added: {error}")))?;
        self.start_thread()?;
        let number = self.core.next_instance_number();
        let plan = Plan { member, signature, routes, queue };
        let shared = Arc::new(InstanceShared::new(number, id, Arc::clone(&self.shared), keep, plan));
        self.shared.add(&shared);
        Ok(PyInstance { shared, core: Arc::clone(&self.core) })
    }

    /// Starts the host's thread for its first instance; refuses a second one in a `thread` host.
    fn start_thread(&self) -> PyResult<()> {
        let mut thread = self.thread.lock();
        if matches!(*thread, Thread::None) {
            *thread = Thread::Started(spawn(Arc::clone(&self.shared), &format!("meltica-{}", self.mode()))?);
        } else if !self.shared.shared_mode {
            return Err(LambdaError::new_err(
                "instance not added: a thread host runs one instance; use another host or the mode `shared`",
            ));
        }
        Ok(())
    }
}

/// Compiles `{kind: policy}`; the other kinds have their default.
fn compile_policies(declared: HashMap<String, String>) -> PyResult<Policies> {
    let mut policies = DEFAULT_POLICIES;
    for (name, policy) in declared {
        policies[kind(&name)? as usize] = OverflowPolicy::from_name(&policy).ok_or_else(|| {
            value_error(format!("{name}: expected the policy conflate, drop_oldest or block, saw {policy:?}"))
        })?;
    }
    Ok(policies)
}

/// Compiles `[(provider, kind, symbol or None), ..]`, sorted by key.
fn compile_routes(declared: &Bound<'_, PyAny>, filters: &Filters, depth: u32) -> PyResult<Vec<Route>> {
    let mut routes = Vec::new();
    for route in declared.try_iter()? {
        let (source, name, of): (String, String, Option<String>) = route?.cast::<PyTuple>()?.extract()?;
        let kind = kind(&name)?;
        if kind.is_notice() {
            return Err(value_error(format!(
                "route {source}, {}: a notice has no routes; subscribe to the market data that it is about",
                kind.name()
            )));
        }
        let name = |of: String| if kind == Kind::Extension { of } else { canonical(&of).into_owned() };
        let provider = ProviderId::intern(&source);
        let symbol = of.map(|of| provider.routed(&name(of))).transpose().map_err(value_error)?;
        let filters = filters.get(&kind).cloned().unwrap_or_default();
        routes.push(Route { key: RouteKey { provider, kind, symbol }, filters, depth });
    }
    routes.sort_by_key(|route| route.key);
    Ok(routes)
}

/// Compiles `{kind: callable}`.
fn compile_callbacks(declared: &Bound<'_, PyDict>) -> PyResult<Callbacks> {
    let mut callbacks = [const { None }; Kind::COUNT];
    for (name, callable) in declared {
        callbacks[kind(&name.extract::<String>()?)? as usize] = Some(Callback::new(&callable)?);
    }
    Ok(callbacks)
}
