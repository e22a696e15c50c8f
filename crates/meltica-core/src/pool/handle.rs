//! The handles to a slot: one that may write, or any number that read.

use super::Recycle;
use super::slots::{Slot, give_back};
use crate::sync::{Ordering, fence};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The maximum number of readers of a slot. Far below the range of the count, so that threads which exceed it at the
/// same time cannot wrap the count.
const MAX_READERS: u32 = u32::MAX / 2;

/// The only handle to a slot, which can read and write the value.
pub struct Unique<T: Recycle> {
    pub(super) slot: NonNull<Slot<T>>,
}

// SAFETY: a unique handle is the value, moved.
unsafe impl<T: Recycle + Send + Sync> Send for Unique<T> {}
// SAFETY: `&Unique` gives `&T` only.
unsafe impl<T: Recycle + Send + Sync> Sync for Unique<T> {}

impl<T: Recycle> Unique<T> {
    /// Shares the slot between `readers` readers, at least one. The returned iterator yields their handles.
    ///
    /// # Panics
    /// If a slot cannot have that many readers.
    #[inline]
    pub fn share(self, readers: u32) -> Readers<T> {
        assert!(
            readers <= MAX_READERS,
            "slot not shared: {readers} readers exceed the maximum of {MAX_READERS}"
        );
        let slot = self.slot;
        std::mem::forget(self);
        // SAFETY: this is the slot's only handle. Relaxed: each reader gets its handle through a release of its queue.
        unsafe { slot.as_ref() }.refs.store(readers.max(1), Ordering::Relaxed);
        Readers { slot, left: readers.max(1) }
    }

    /// Shares the slot with one reader.
    #[inline]
    pub fn into_shared(self) -> Shared<T> {
        self.share(1).next().expect("Invariant: at least one reader")
    }
}

impl<T: Recycle> Deref for Unique<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the only handle.
        unsafe { self.slot.as_ref().value.with(|value| &*value) }
    }
}

impl<T: Recycle> DerefMut for Unique<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the only handle.
        unsafe { self.slot.as_ref().value.with_mut(|value| &mut *value) }
    }
}

impl<T: Recycle> Drop for Unique<T> {
    #[inline]
    fn drop(&mut self) {
        give_back(self.slot);
    }
}

/// The readers of a slot whose handles were not taken yet.
pub struct Readers<T: Recycle> {
    slot: NonNull<Slot<T>>,
    left: u32,
}

impl<T: Recycle> Iterator for Readers<T> {
    type Item = Shared<T>;
    #[inline]
    fn next(&mut self) -> Option<Shared<T>> {
        self.left = self.left.checked_sub(1)?;
        Some(Shared { slot: self.slot })
    }
}

impl<T: Recycle> Drop for Readers<T> {
    #[inline]
    fn drop(&mut self) {
        for reader in &mut *self {
            drop(reader);
        }
    }
}

/// One reader of a slot.
pub struct Shared<T: Recycle> {
    slot: NonNull<Slot<T>>,
}

// SAFETY: readers share the value (`T: Sync`) and any of them may recycle it (`T: Send`).
unsafe impl<T: Recycle + Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Recycle + Send + Sync> Sync for Shared<T> {}

impl<T: Recycle> Shared<T> {
    /// Returns the slot as a pointer that keeps its count.
    #[inline]
    pub(crate) fn into_raw(self) -> *mut Slot<T> {
        let slot = self.slot.as_ptr();
        std::mem::forget(self);
        slot
    }

    /// Returns the reader of a pointer from [`Self::into_raw`].
    ///
    /// # Safety
    /// `slot` must come from [`Self::into_raw`], and each such pointer may be used once.
    #[inline]
    pub(crate) unsafe fn from_raw(slot: *mut Slot<T>) -> Self {
        // SAFETY: `into_raw` never returns null.
        Self { slot: unsafe { NonNull::new_unchecked(slot) } }
    }
}

impl<T: Recycle> Deref for Shared<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the value is not written while readers exist.
        unsafe { self.slot.as_ref().value.with(|value| &*value) }
    }
}

impl<T: Recycle> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: this handle holds the slot.
        let refs = unsafe { &self.slot.as_ref().refs };
        // Relaxed: the new handle is cloned from a live one.
        if refs.fetch_add(1, Ordering::Relaxed) >= MAX_READERS {
            refs.fetch_sub(1, Ordering::Relaxed);
            panic!("reader not cloned: its slot has the maximum of {MAX_READERS} readers");
        }
        Self { slot: self.slot }
    }
}

impl<T: Recycle> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this handle holds the slot.
        let refs = unsafe { &self.slot.as_ref().refs };
        // The last reader reads one and needs no exchange: no other handle exists that could be cloned.
        if refs.load(Ordering::Acquire) != 1 {
            if refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            fence(Ordering::Acquire);
        }
        give_back(self.slot);
    }
}

/// Several readers of one slot, which are dropped at once: the count is written once, however many they are.
pub(crate) struct Bundle<T: Recycle> {
    slot: NonNull<Slot<T>>,
    readers: u32,
}

// SAFETY: as for `Shared`.
unsafe impl<T: Recycle + Send + Sync> Send for Bundle<T> {}
// SAFETY: as for `Shared`.
unsafe impl<T: Recycle + Send + Sync> Sync for Bundle<T> {}

impl<T: Recycle> Bundle<T> {
    /// Returns a bundle of one reader.
    #[inline]
    pub(crate) fn new(reader: Shared<T>) -> Self {
        let slot = reader.slot;
        std::mem::forget(reader);
        Self { slot, readers: 1 }
    }

    /// Adds a reader of the same slot. A reader of another slot is returned.
    #[inline]
    pub(crate) fn add(&mut self, reader: Shared<T>) -> Result<(), Shared<T>> {
        if reader.slot != self.slot {
            return Err(reader);
        }
        std::mem::forget(reader);
        self.readers += 1;
        Ok(())
    }
}

impl<T: Recycle> Drop for Bundle<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this bundle holds the slot.
        let refs = unsafe { &self.slot.as_ref().refs };
        // As for `Shared`: if no other reader exists, none can be cloned.
        if refs.load(Ordering::Acquire) != self.readers {
            if refs.fetch_sub(self.readers, Ordering::Release) != self.readers {
                return;
            }
            fence(Ordering::Acquire);
        }
        give_back(self.slot);
    }
}

impl<T: Recycle + std::fmt::Debug> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::Pool;
    use super::{MAX_READERS, Recycle};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    impl Recycle for u64 {
        fn recycle(&mut self) {}
    }

    /// Forgotten handles keep their count, so a program can reach any count without using memory.
    #[test]
    fn the_count_of_readers_does_not_wrap() {
        let pool = Pool::new(0, u64::default);
        pool.grow_to(1);
        let mut readers = pool.borrow().expect("a free slot").share(MAX_READERS);
        let reader = readers.next().expect("a reader");
        std::mem::forget(readers);
        for _ in 0..3 {
            assert!(catch_unwind(AssertUnwindSafe(|| reader.clone())).is_err());
        }
        drop(reader);
        assert!(pool.borrow().is_none(), "the slot still has readers");
    }

    #[test]
    fn a_slot_is_not_shared_beyond_the_maximum() {
        let pool = Pool::new(0, u64::default);
        pool.grow_to(1);
        let slot = pool.borrow().expect("a free slot");
        assert!(catch_unwind(AssertUnwindSafe(|| drop(slot.share(MAX_READERS + 1)))).is_err());
        assert!(pool.borrow().is_some(), "a refused share returns the slot");
    }
}
