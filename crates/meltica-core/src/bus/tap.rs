//! Conflation: one cell a route, and the stack of those that are filled.

use crate::event::Event;
use crate::pool::{Shared, Slot};
use crate::sync::{Arc, AtomicPtr, Ordering, Padded};

/// One route into one queue; for conflated kinds it holds the route's cell.
pub struct Tap {
    cell: AtomicPtr<Slot<Event>>,
    next: AtomicPtr<Tap>,
}

impl Default for Tap {
    fn default() -> Self {
        Self { cell: AtomicPtr::new(std::ptr::null_mut()), next: AtomicPtr::new(std::ptr::null_mut()) }
    }
}

impl Tap {
    /// Empties the cell.
    #[inline]
    pub(super) fn take(&self) -> Option<Shared<Event>> {
        let slot = self.cell.swap(std::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: the swap made us the pointer's only owner.
        (!slot.is_null()).then(|| unsafe { Shared::from_raw(slot) })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Taps whose cell is filled, a stack that the reader takes whole.
pub(super) struct Pending(Padded<AtomicPtr<Tap>>);

impl Pending {
    pub fn new() -> Self {
        Self(Padded(AtomicPtr::new(std::ptr::null_mut())))
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire).is_null()
    }

    /// Puts `event` into the cell of `tap` and returns the one that it replaced, if any. Producer only.
    #[inline]
    pub fn push(&self, tap: &Arc<Tap>, event: Shared<Event>) -> Option<Shared<Event>> {
        let old = tap.cell.swap(event.into_raw(), Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: the swap made us the owner of the pointer that stood in the cell.
            return Some(unsafe { Shared::from_raw(old) });
        }
        let tap = Arc::into_raw(Arc::clone(tap)).cast_mut();
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the tap is kept alive by the count just taken; a tap with an empty cell is on no list, so its
            // link is ours.
            unsafe { (*tap).next.store(top, Ordering::Relaxed) };
            match self.0.compare_exchange(top, tap, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return None,
                Err(seen) => top = seen,
            }
        }
    }

    /// Unlinks all taps and gives each to `each`, the one filled last first. Reader only.
    #[inline]
    pub fn take(&self, mut each: impl FnMut(Arc<Tap>)) {
        if self.0.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut top = self.0.swap(std::ptr::null_mut(), Ordering::Acquire);
        while !top.is_null() {
            // SAFETY: `push` put one count of each tap on the stack, which is ours alone now; the link is read before
            // the cell can be emptied, after which a producer may link the tap anew.
            let tap = unsafe { Arc::from_raw(top.cast_const()) };
            top = tap.next.load(Ordering::Relaxed);
            each(tap);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.take(drop);
    }
}
