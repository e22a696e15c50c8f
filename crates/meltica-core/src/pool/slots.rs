//! The slots of a pool and their free list.

use super::Recycle;
use crate::sync::{AtomicI64, AtomicPtr, AtomicU32, AtomicU64, CachePadded, Mutex, Ordering, UnsafeCell};
use std::ptr::NonNull;

/// The head of an empty free list.
pub(super) const NIL: u32 = u32::MAX;
/// The head of a closed free list.
pub(super) const CLOSED: u32 = u32::MAX - 1;
pub(super) const MAX_CHUNKS: usize = if cfg!(loom) { 8 } else { 4096 };

pub(super) fn pack(tag: u32, index: u32) -> u64 {
    (tag as u64) << 32 | index as u64
}

pub(super) const fn unpack(head: u64) -> (u32, u32) {
    ((head >> 32) as u32, head as u32)
}

/// Spins longer after each lost exchange, so that the head stays in the cache of one core for a while.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    #[cold]
    fn then<R>(&mut self, retry: impl FnOnce() -> R) -> R {
        self.0 = (self.0 + 1).min(5);
        for _ in 0..1u32 << self.0 {
            std::hint::spin_loop();
        }
        retry()
    }
}

/// One reusable value, and its link in the free list.
pub(crate) struct Slot<T> {
    pub(super) value: UnsafeCell<T>,
    /// The number of shared readers.
    pub(super) refs: AtomicU32,
    /// The index of the next free slot.
    pub(super) next: AtomicU32,
    pub(super) index: u32,
    pub(super) pool: *const Inner<T>,
}

/// The state of a pool, which outlives the pool while slots are in use.
pub(super) struct Inner<T> {
    pub(super) head: CachePadded<AtomicU64>,
    pub(super) chunks: Box<[AtomicPtr<Slot<T>>]>,
    pub(super) chunk_bits: u32,
    pub(super) capacity: AtomicU32,
    /// Slots that are neither in use nor in the free list. Locked while the pool grows or shrinks.
    pub(super) parked: Mutex<Vec<u32>>,
    /// The length of `parked`, for readers that do not wait.
    pub(super) parked_count: AtomicU32,
    /// Slots in use when the pool was dropped, less those returned since.
    pub(super) orphans: AtomicI64,
    /// Failed borrows.
    pub(super) exhausted: AtomicU64,
}

impl<T> Inner<T> {
    #[inline]
    pub(super) fn slot(&self, index: u32) -> NonNull<Slot<T>> {
        let chunk = self.chunks[(index >> self.chunk_bits) as usize].load(Ordering::Acquire);
        let offset = (index & ((1 << self.chunk_bits) - 1)) as usize;
        // SAFETY: indices come from the free list only, and `grow_to` adds an index after it has published the whole
        // chunk, so `chunk` is a live allocation of `1 << chunk_bits` slots and `offset` lies inside it.
        unsafe { NonNull::new_unchecked(chunk.add(offset)) }
    }

    /// Returns a slot whose index was read without synchronisation, or `None` if its chunk is not visible yet.
    fn visible(&self, index: u32) -> Option<NonNull<Slot<T>>> {
        let chunk = self.chunks[(index >> self.chunk_bits) as usize].load(Ordering::Acquire);
        (!chunk.is_null()).then(|| self.slot(index))
    }

    /// Pushes the chain `first..=last` onto the free list. Returns false if the pool is closed.
    #[inline]
    pub(super) fn push(&self, first: u32, last: NonNull<Slot<T>>) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        let mut backoff = Backoff::default();
        loop {
            let (tag, index) = unpack(head);
            if index == CLOSED {
                return false;
            }
            // SAFETY: the caller owns the chain until the exchange succeeds, and slots live as long as `self`.
            unsafe { last.as_ref() }.next.store(index, Ordering::Relaxed);
            // Release: the thread that pops the slot sees its links and its recycled value.
            match self.head.compare_exchange_weak(
                head,
                pack(tag.wrapping_add(1), first),
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(_) => head = backoff.then(|| self.head.load(Ordering::Relaxed)),
            }
        }
    }

    /// Pops a free slot, or returns `None` if every slot is in use.
    #[inline]
    pub(super) fn pop(&self) -> Option<NonNull<Slot<T>>> {
        let mut head = self.head.load(Ordering::Acquire);
        let mut backoff = Backoff::default();
        loop {
            let (tag, index) = unpack(head);
            if index == NIL {
                return None;
            }
            let slot = self.slot(index);
            // SAFETY: slots live as long as `self`. Another thread may have popped this one since; then `next` is stale
            // and the exchange fails on the tag.
            let next = unsafe { slot.as_ref() }.next.load(Ordering::Relaxed);
            match self.head.compare_exchange_weak(
                head,
                pack(tag.wrapping_add(1), next),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(slot),
                Err(_) => head = backoff.then(|| self.head.load(Ordering::Acquire)),
            }
        }
    }

    /// Returns the length of the chain that starts at `index`, at most `most`. Other threads may change the chain
    /// meanwhile; the walk then ends early or counts slots that have moved.
    pub(super) fn count(&self, mut index: u32, most: u32) -> u32 {
        let mut n = 0;
        while index < CLOSED
            && n < most
            && let Some(slot) = self.visible(index)
        {
            n += 1;
            // SAFETY: slots live as long as `self`.
            index = unsafe { slot.as_ref() }.next.load(Ordering::Relaxed);
        }
        n
    }
}

/// Returns a slot to its pool. The caller must be the only holder of the slot.
#[inline]
pub(super) fn give_back<T: Recycle>(slot: NonNull<Slot<T>>) {
    // SAFETY: the caller is the slot's only holder, and the pool's memory outlives every slot in use.
    let (inner, index) = unsafe { (slot.as_ref().pool, slot.as_ref().index) };
    // SAFETY: as above; no other thread reads or writes the value.
    unsafe { slot.as_ref().value.with_mut(|value| (*value).recycle()) };
    // SAFETY: as above.
    let closed = unsafe { !(*inner).push(index, slot) };
    if closed {
        // SAFETY: the pool's memory is freed only after this slot is counted down.
        let left = unsafe { (*inner).orphans.fetch_sub(1, Ordering::AcqRel) } - 1;
        if left == 0 {
            // SAFETY: every slot has returned and the pool is dropped: this was the last reference.
            unsafe { free(inner.cast_mut()) };
        }
    }
}

/// Frees the memory of a dropped pool whose slots have all returned.
///
/// # Safety
/// The caller must hold the last reference to the pool and its slots.
pub(super) unsafe fn free<T>(inner: *mut Inner<T>) {
    // SAFETY: `inner` came from `Box::into_raw` in `Pool::new` and the caller holds the last reference.
    let inner = unsafe { Box::from_raw(inner) };
    for chunk in &inner.chunks {
        let chunk = chunk.load(Ordering::Acquire);
        if !chunk.is_null() {
            let slots = std::ptr::slice_from_raw_parts_mut(chunk, 1 << inner.chunk_bits);
            // SAFETY: `grow_to` leaked exactly this boxed slice.
            drop(unsafe { Box::from_raw(slots) });
        }
    }
}
