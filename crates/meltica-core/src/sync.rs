//! The synchronisation primitives of the data plane: those of `std`, or loom's models of them under `cfg(loom)`.
//!
//! `pool`, `bus` and `dispatch` take every atomic, lock and cell from this module, so that loom explores the code that
//! runs in production.

#[cfg(loom)]
pub use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};
#[cfg(not(loom))]
pub use std::{
    sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

/// `std::cell::UnsafeCell` with loom's interface.
#[cfg(not(loom))]
#[derive(Debug)]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Passes a pointer for reading to `f`.
    #[inline]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Passes a pointer for writing to `f`.
    #[inline]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Locks `mutex`, also after a holder panicked: every critical section of the data plane leaves its data consistent.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Aligns a value to two cache lines, because the prefetcher loads lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(pub T);

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// A value that is replaced as a whole. Readers never wait for writers.
#[derive(Debug)]
pub struct Swap<T> {
    #[cfg(not(loom))]
    inner: arc_swap::ArcSwap<T>,
    /// The address of the value, for comparisons that need no access to it.
    #[cfg(not(loom))]
    latest: AtomicPtr<T>,
    #[cfg(loom)]
    inner: Mutex<Arc<T>>,
}

impl<T> Swap<T> {
    /// Returns a cell that holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        #[cfg(not(loom))]
        return Self {
            latest: AtomicPtr::new(Arc::as_ptr(&value).cast_mut()),
            inner: arc_swap::ArcSwap::new(value),
        };
        #[cfg(loom)]
        return Self { inner: Mutex::new(value) };
    }

    /// Returns the current value.
    pub fn load(&self) -> Arc<T> {
        #[cfg(not(loom))]
        return self.inner.load_full();
        #[cfg(loom)]
        return Arc::clone(&lock(&self.inner));
    }

    /// Updates `cached`. Without a new value this costs one load and a comparison.
    #[inline]
    pub fn refresh(&self, cached: &mut Arc<T>) {
        // `cached` keeps its value alive, so no later value can have the same address.
        #[cfg(not(loom))]
        if self.latest.load(Ordering::Acquire).cast_const() != Arc::as_ptr(cached) {
            *cached = self.inner.load_full();
        }
        #[cfg(loom)]
        {
            *cached = self.load();
        }
    }

    /// Replaces the value. One thread at a time may store.
    pub fn store(&self, value: Arc<T>) {
        #[cfg(not(loom))]
        {
            let latest = Arc::as_ptr(&value).cast_mut();
            self.inner.store(value);
            self.latest.store(latest, Ordering::SeqCst);
        }
        #[cfg(loom)]
        {
            *lock(&self.inner) = value;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_cached_value_is_refreshed_after_each_store() {
        let swap = Swap::new(Arc::new(0));
        let mut cached = swap.load();
        for value in 1..1000 {
            swap.store(Arc::new(value));
            swap.refresh(&mut cached);
            assert_eq!(*cached, value);
            swap.refresh(&mut cached);
            assert_eq!(*cached, value);
        }
    }
}
