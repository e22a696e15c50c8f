//! Conflation: one cell a route, and the stack of those that are filled.

use crate::event::Event;
use crate::pool::{Shared, Slot};
use crate::sync::{Arc, AtomicPtr, CachePadded, Ordering};

/// One route into one queue; for conflated kinds it holds the route's cell.
pub struct ConflationCell {
    event: AtomicPtr<Slot<Event>>,
    next: AtomicPtr<ConflationCell>,
}

impl Default for ConflationCell {
    fn default() -> Self {
        Self { event: AtomicPtr::new(std::ptr::null_mut()), next: AtomicPtr::new(std::ptr::null_mut()) }
    }
}

impl ConflationCell {
    /// Empties the cell.
    #[inline]
    pub(super) fn take(&self) -> Option<Shared<Event>> {
        let slot = self.event.swap(std::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: the swap made us the pointer's only owner.
        (!slot.is_null()).then(|| unsafe { Shared::from_raw(slot) })
    }
}

impl Drop for ConflationCell {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// Filled cells, as a stack that the reader takes whole.
pub(super) struct Pending(CachePadded<AtomicPtr<ConflationCell>>);

impl Pending {
    pub fn new() -> Self {
        Self(CachePadded(AtomicPtr::new(std::ptr::null_mut())))
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Acquire).is_null()
    }

    /// Puts `event` into `cell` and returns the event that it replaced, if any. Producer only.
    #[inline]
    pub fn push(&self, cell: &Arc<ConflationCell>, event: Shared<Event>) -> Option<Shared<Event>> {
        let old = cell.event.swap(event.into_raw(), Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: the swap made us the owner of the pointer that stood in the cell.
            return Some(unsafe { Shared::from_raw(old) });
        }
        let cell = Arc::into_raw(Arc::clone(cell)).cast_mut();
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the cell is kept alive by the count just taken; a cell with an empty cell is on no list, so its
            // link is ours.
            unsafe { (*cell).next.store(top, Ordering::Relaxed) };
            match self.0.compare_exchange(top, cell, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return None,
                Err(seen) => top = seen,
            }
        }
    }

    /// Unlinks all cells and gives each to `each`, the one filled last first. Reader only.
    #[inline]
    pub fn take(&self, mut each: impl FnMut(Arc<ConflationCell>)) {
        if self.0.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut top = self.0.swap(std::ptr::null_mut(), Ordering::Acquire);
        while !top.is_null() {
            // SAFETY: `push` put one count of each cell on the stack, which is ours alone now; the link is read before
            // the cell can be emptied, after which a producer may link the cell anew.
            let cell = unsafe { Arc::from_raw(top.cast_const()) };
            top = cell.next.load(Ordering::Relaxed);
            each(cell);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.take(drop);
    }
}
