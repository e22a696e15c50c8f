//! The locks of the binding, and the order in which a thread may hold several of them.
//!
//! A thread that holds a lock requests only locks of a later [`Rank`], so no two threads wait for each other. Builds with
//! debug assertions check that at each request; other builds keep no rank. The locks of the core come after all of
//! these: the core calls nothing that takes one of them, except what a waiting feed calls to handle signals.
//!
//! The interpreter counts as the last lock. A thread that holds a lock neither attaches nor runs Python code, which
//! includes dropping a Python object and creating one that the garbage collector tracks. The locks of the ranks up to
//! [`Rank::Feed`] are the exception: their holders may attach, so a thread requests them only while it is detached.

#[cfg(debug_assertions)]
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
#[cfg(debug_assertions)]
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The order of the locks, from the first that a thread may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// A simulated market or exchange. A market publishes while it is held.
    Simulator,
    /// A provider's feed, held while it publishes, waits for readers and plays recordings.
    Feed,
    /// The commands of a host, held while an instance gives away its plan.
    Commands,
    /// The end of the process, held while it is logged.
    Ending,
    /// Whether a host's thread has started, held while it starts and is registered.
    Thread,
    /// Any other lock. A thread that holds one requests no other lock of the binding.
    Leaf,
}

#[cfg(debug_assertions)]
thread_local! {
    static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
}

/// A rank that the current thread holds.
struct Held {
    #[cfg(debug_assertions)]
    rank: Rank,
}

#[cfg(debug_assertions)]
impl Held {
    fn request(rank: Rank) -> Self {
        let held = HELD.with_borrow(Clone::clone);
        assert!(
            held.iter().all(|held| *held < rank),
            "lock order: {rank:?} requested while the thread holds {held:?}"
        );
        HELD.with_borrow_mut(|held| held.push(rank));
        Self { rank }
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        HELD.with_borrow_mut(|held| {
            // Guards may be dropped in any order.
            let at = held.iter().rposition(|held| *held == self.rank).expect("Invariant: the rank is held");
            held.remove(at);
        });
    }
}

/// A mutex with a rank. It can be locked also after its holder has panicked.
pub struct Lock<T> {
    #[cfg(debug_assertions)]
    rank: Rank,
    value: Mutex<T>,
}

impl<T> Lock<T> {
    /// Returns a lock of a rank; see [`Self::leaf`] for the usual one.
    pub const fn new(rank: Rank, value: T) -> Self {
        #[cfg(not(debug_assertions))]
        let _ = rank;
        Self {
            #[cfg(debug_assertions)]
            rank,
            value: Mutex::new(value),
        }
    }

    /// Returns a lock that is held only for a moment, while no other lock is requested.
    pub const fn leaf(value: T) -> Self {
        Self::new(Rank::Leaf, value)
    }

    #[cfg(debug_assertions)]
    fn request(&self) -> Held {
        Held::request(self.rank)
    }

    #[cfg(not(debug_assertions))]
    #[inline(always)]
    #[allow(clippy::unused_self)]
    fn request(&self) -> Held {
        Held {}
    }

    /// Waits for the lock. A thread that is attached to the interpreter stays attached.
    #[inline]
    pub fn lock(&self) -> Guard<'_, T> {
        #[cfg(debug_assertions)]
        assert!(
            // SAFETY: the check reads the state of the current thread.
            self.rank != Rank::Feed || unsafe { ffi::PyGILState_Check() } == 0,
            "lock order: {:?} requested while the thread is attached to the interpreter",
            self.rank
        );
        let held = self.request();
        Guard { value: self.value.lock().unwrap_or_else(PoisonError::into_inner), held }
    }

    /// Waits for the lock detached from the interpreter, and attaches again.
    pub fn lock_attached(&self, py: Python<'_>) -> Guard<'_, T> {
        let held = self.request();
        Guard { value: self.value.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner), held }
    }
}

/// Locks a mutex of the core.
pub fn core_lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Exclusive use of the value of a [`Lock`].
pub struct Guard<'a, T> {
    value: MutexGuard<'a, T>,
    held: Held,
}

impl<T> Guard<'_, T> {
    /// Releases the lock, waits until `woken` is notified or the time is over, and locks again.
    pub fn wait(self, woken: &Condvar, most: Duration) -> Self {
        // The rank stays: a thread that waits requests nothing.
        let Self { value, held } = self;
        Self { value: woken.wait_timeout(value, most).unwrap_or_else(PoisonError::into_inner).0, held }
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::{HELD, Lock, Rank};
    use pyo3::prelude::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Returns the text of the panic of `act`.
    fn refused(act: impl FnOnce()) -> String {
        let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("a panic");
        *panic.downcast::<String>().expect("a text")
    }

    #[test]
    fn an_inversion_panics() {
        let (market, commands) = (Lock::new(Rank::Simulator, ()), Lock::new(Rank::Commands, ()));
        let text = refused(|| {
            let _commands = commands.lock();
            let _market = market.lock();
        });
        assert_eq!(text, "lock order: Simulator requested while the thread holds [Commands]");
        assert!(HELD.with_borrow(Vec::is_empty), "the panic has released what was held");
    }

    #[test]
    fn two_locks_of_one_rank_are_refused() {
        let (first, second) = (Lock::leaf(()), Lock::leaf(()));
        let _first = first.lock();
        let text = refused(|| drop(second.lock()));
        assert_eq!(text, "lock order: Leaf requested while the thread holds [Leaf]");
    }

    #[test]
    fn a_feed_is_requested_while_detached() {
        Python::initialize();
        let feed = Lock::new(Rank::Feed, ());
        let text = refused(|| Python::attach(|_| drop(feed.lock())));
        assert_eq!(text, "lock order: Feed requested while the thread is attached to the interpreter");
        Python::attach(|py| py.detach(|| drop(feed.lock())));
    }

    #[test]
    fn guards_may_be_dropped_in_any_order() {
        let (feed, commands, leaf) =
            (Lock::new(Rank::Feed, ()), Lock::new(Rank::Commands, ()), Lock::leaf(1));
        let (first, second, third) = (feed.lock(), commands.lock(), leaf.lock());
        drop(first);
        drop(third);
        *leaf.lock() += 1;
        drop(second);
        assert_eq!(*leaf.lock(), 2);
        assert!(HELD.with_borrow(Vec::is_empty));
    }
}
