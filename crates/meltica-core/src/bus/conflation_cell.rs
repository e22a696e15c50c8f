//! Conflation: one cell per route, and the stack of filled cells.

use crate::event::Event;
use crate::pool::{Shared, Slot};
use crate::sync::{Arc, AtomicPtr, CachePadded, Ordering};

/// The latest undelivered event of one provider, kind and symbol in one queue. Stays empty for kinds that are not
/// conflated.
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
    /// Removes the event from the cell.
    #[inline]
    pub(super) fn take(&self) -> Option<Shared<Event>> {
        let slot = self.event.swap(std::ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: the swap made this thread the only owner of the pointer.
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
            // SAFETY: the swap made this thread the owner of the previous pointer.
            return Some(unsafe { Shared::from_raw(old) });
        }
        self.link(Arc::clone(cell));
        None
    }

    /// Puts an event that was taken out of `cell` back, unless a later one has filled the cell; then the event is
    /// returned. Reader only.
    pub fn put_back(&self, cell: Arc<ConflationCell>, event: Shared<Event>) -> Option<Shared<Event>> {
        let slot = event.into_raw();
        let empty = std::ptr::null_mut();
        // Release: the thread that empties the cell sees the event.
        if cell.event.compare_exchange(empty, slot, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            // SAFETY: the exchange failed, so this thread still owns the pointer.
            return Some(unsafe { Shared::from_raw(slot) });
        }
        self.link(cell);
        None
    }

    /// Pushes a cell that this thread has just filled.
    #[inline]
    fn link(&self, cell: Arc<ConflationCell>) {
        let cell = Arc::into_raw(cell).cast_mut();
        let mut top = self.0.load(Ordering::Relaxed);
        loop {
            // SAFETY: the count of `cell` keeps it alive, and a cell that was empty is in no list, so this thread owns
            // its link.
            unsafe { (*cell).next.store(top, Ordering::Relaxed) };
            match self.0.compare_exchange(top, cell, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(changed) => top = changed,
            }
        }
    }

    /// Unlinks all cells and passes each to `each`, the last filled first. Reader only.
    #[inline]
    pub fn take(&self, mut each: impl FnMut(Arc<ConflationCell>)) {
        if self.0.load(Ordering::Relaxed).is_null() {
            return;
        }
        let mut top = self.0.swap(std::ptr::null_mut(), Ordering::Acquire);
        while !top.is_null() {
            // SAFETY: `push` put one count of each cell on the stack, which this thread now owns. The link is read
            // before the cell can be emptied, after which a producer may link the cell again.
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
