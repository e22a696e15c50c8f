//! Slots allocated ahead, borrowed and returned without locks.
//!
//! # Ownership
//! [`Pool::borrow`] returns a [`Unique`], the only handle to a slot, through which its holder fills the slot.
//! [`Unique::share`] turns it into any number of [`Shared`] readers; dropping the last one returns the slot. Both are
//! owned values, so a double return or a use after return cannot be written.
//!
//! # Free list
//! A Treiber stack of slot indices under a 64-bit head of (tag, index). Each successful exchange bumps the tag, so an
//! exchange fails if the head was popped and pushed back in between.
//!
//! # Growth and end
//! The pool grows by whole chunks, off the hot path, and never frees a chunk: the address of a slot is valid while any
//! handle to it exists. Free slots can be parked: they leave the free list and give up what their values own, until
//! the pool grows again. A dropped pool closes its free list. Slots still in use are counted down as they return, and the last
//! one frees the memory.

mod handle;
mod reservation;
mod slots;

use crate::sync::{
    AtomicI64, AtomicPtr, AtomicU32, AtomicU64, CachePadded, Mutex, Ordering, UnsafeCell, lock,
};
pub(crate) use handle::Bundle;
pub use handle::{Readers, Shared, Unique};
pub(crate) use reservation::InFlight;
pub use reservation::{Claim, DepthClass, NoCapacity, Pools, Reservation};
pub(crate) use slots::Slot;
use slots::{CLOSED, Inner, MAX_CHUNKS, NIL, free, pack, unpack};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// A value that a pool reuses.
pub trait Recycle {
    /// Releases what the value refers to outside of its slot and keeps the value's own buffers.
    fn recycle(&mut self);
}

/// A pool of slots of `T`.
pub struct Pool<T: Recycle> {
    inner: NonNull<Inner<T>>,
    make: Box<dyn Fn() -> T + Send + Sync>,
}

// SAFETY: the pool hands values from one thread to another (`T: Send`), readers share them (`T: Sync`), and all of its
// own state is atomic or behind a lock.
unsafe impl<T: Recycle + Send + Sync> Send for Pool<T> {}
// SAFETY: as above.
unsafe impl<T: Recycle + Send + Sync> Sync for Pool<T> {}

impl<T: Recycle + Send + Sync> Pool<T> {
    /// Returns an empty pool that grows by chunks of `2^chunk_bits` slots, whose values `make` returns.
    pub fn new(chunk_bits: u32, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let inner = Inner {
            head: CachePadded(AtomicU64::new(pack(0, NIL))),
            chunks: (0..MAX_CHUNKS).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect(),
            chunk_bits,
            capacity: AtomicU32::new(0),
            parked: Mutex::new(Vec::new()),
            parked_count: AtomicU32::new(0),
            orphans: AtomicI64::new(0),
            exhausted: AtomicU64::new(0),
        };
        // SAFETY: a box is never null.
        let inner = unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(inner))) };
        Self { inner, make: Box::new(make) }
    }

    fn inner(&self) -> &Inner<T> {
        // SAFETY: freed only after `self` is dropped.
        unsafe { self.inner.as_ref() }
    }

    /// Grows to at least `slots` slots: by parked slots, then by whole chunks. Returns the new capacity, which is lower
    /// than `slots` only if the table of chunks is full.
    pub fn grow_to(&self, slots: usize) -> usize {
        let inner = self.inner();
        let mut parked = lock(&inner.parked);
        let per_chunk = 1usize << inner.chunk_bits;
        let mut capacity = inner.capacity.load(Ordering::Relaxed) as usize;
        while capacity - parked.len() < slots
            && let Some(index) = parked.pop()
        {
            let slot = inner.slot(index);
            // SAFETY: a parked slot has no other holder.
            unsafe { slot.as_ref().value.with_mut(|value| *value = (self.make)()) };
            inner.parked_count.store(parked.len() as u32, Ordering::Release);
            inner.push(index, slot);
        }
        while capacity - parked.len() < slots && capacity / per_chunk < MAX_CHUNKS {
            let base = capacity as u32;
            let chunk: Box<[Slot<T>]> = (0..per_chunk as u32)
                .map(|i| Slot {
                    value: UnsafeCell::new((self.make)()),
                    refs: AtomicU32::new(0),
                    next: AtomicU32::new(base + i + 1),
                    index: base + i,
                    pool: self.inner.as_ptr(),
                })
                .collect();
            let chunk = Box::into_raw(chunk).cast::<Slot<T>>();
            inner.chunks[capacity / per_chunk].store(chunk, Ordering::Release);
            // SAFETY: the last slot of the chunk that was just allocated.
            let last = unsafe { NonNull::new_unchecked(chunk.add(per_chunk - 1)) };
            capacity += per_chunk;
            inner.capacity.store(capacity as u32, Ordering::Release);
            inner.push(base, last);
        }
        capacity - parked.len()
    }

    /// Parks free slots until no more than `slots()` remain. `empty` returns the values of parked slots. `slots` is
    /// called while the pool can neither grow nor shrink.
    pub fn shrink_to(&self, slots: impl FnOnce() -> usize, empty: impl Fn() -> T) {
        let inner = self.inner();
        let mut parked = lock(&inner.parked);
        let slots = slots();
        let capacity = inner.capacity.load(Ordering::Relaxed) as usize;
        while capacity - parked.len() > slots
            && let Some(slot) = inner.pop()
        {
            // SAFETY: the slot was popped, so this is its only holder.
            unsafe { slot.as_ref().value.with_mut(|value| *value = empty()) };
            // SAFETY: as above.
            parked.push(unsafe { slot.as_ref() }.index);
            inner.parked_count.store(parked.len() as u32, Ordering::Release);
        }
    }

    /// Borrows a slot. Returns `None`, and counts the failure, if every slot is in use.
    #[inline]
    pub fn borrow(&self) -> Option<Unique<T>> {
        let inner = self.inner();
        let slot = inner.pop();
        if slot.is_none() {
            inner.exhausted.fetch_add(1, Ordering::Relaxed);
        }
        slot.map(|slot| Unique { slot })
    }

    /// Borrows a slot, waiting up to `timeout` for one to be returned. The wait polls, so that returning a slot does
    /// not have to check for waiting threads.
    pub fn borrow_within(&self, timeout: Duration) -> Option<Unique<T>> {
        if let Some(slot) = self.borrow() {
            return Some(slot);
        }
        let deadline = Instant::now() + timeout;
        let mut pause = Duration::from_micros(20);
        loop {
            if let Some(slot) = self.inner().pop() {
                return Some(Unique { slot });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(1));
        }
    }

    /// Returns the number of slots, free and in use, without the parked ones.
    pub fn capacity(&self) -> usize {
        let (inner, parked) = (self.inner(), self.parked());
        (inner.capacity.load(Ordering::Acquire) as usize).saturating_sub(parked)
    }

    /// Returns the number of parked slots.
    pub fn parked(&self) -> usize {
        self.inner().parked_count.load(Ordering::Acquire) as usize
    }

    /// Returns the number of free slots: exact while the pool is idle, otherwise an estimate. Walks the free list.
    pub fn free(&self) -> usize {
        let inner = self.inner();
        let (_, first) = unpack(inner.head.load(Ordering::Acquire));
        inner.count(first, self.capacity() as u32) as usize
    }

    /// Returns the number of failed borrows.
    pub fn exhausted(&self) -> u64 {
        self.inner().exhausted.load(Ordering::Relaxed)
    }
}

impl<T: Recycle> Drop for Pool<T> {
    fn drop(&mut self) {
        let inner = self.inner.as_ptr();
        // SAFETY: the memory is freed only after every slot has returned, below or by the last slot's return.
        let open = unsafe { &*inner };
        let parked = std::mem::take(&mut *lock(&open.parked));
        for index in parked {
            open.push(index, open.slot(index));
        }
        // SAFETY: the memory is freed only after every slot has returned, below or by the last slot's return.
        let in_use = unsafe {
            let head = (*inner).head.swap(pack(0, CLOSED), Ordering::AcqRel);
            let capacity = (*inner).capacity.load(Ordering::Acquire);
            i64::from(capacity) - i64::from((*inner).count(unpack(head).1, capacity))
        };
        // Slots returned since the swap have counted below zero. The side that brings the sum to zero frees the memory.
        // SAFETY: as above.
        let before = unsafe { (*inner).orphans.fetch_add(in_use, Ordering::AcqRel) };
        if before + in_use == 0 {
            // SAFETY: every slot has returned and this is the only handle.
            unsafe { free(inner) };
        }
    }
}
