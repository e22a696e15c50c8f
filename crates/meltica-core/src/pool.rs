//! Slots allocated ahead, borrowed and returned without locks.
//!
//! # Ownership
//! [`Pool::borrow`] gives a [`Unique`]: the only handle to a slot, which its holder fills. [`Unique::share`] turns it
//! into any number of [`Shared`] readers; the last one to go returns the slot. Both are ordinary owned values without
//! a way to return twice or to look after returning.
//!
//! # Free list
//! A Treiber stack of slot indices under a 64-bit head of (tag, index). Each successful exchange bumps the tag, so a
//! head that was popped and pushed back in between is seen as changed.
//!
//! # Growth and end
//! The pool grows by whole chunks, off the hot path, and never shrinks: a slot's address is good while any handle
//! lives. A dropped pool closes its free list; slots still out are counted down as they come home, and the last one
//! frees the memory.

mod reservation;

use crate::sync::{
    AtomicI64, AtomicPtr, AtomicU32, AtomicU64, CachePadded, Mutex, Ordering, UnsafeCell, fence, lock,
};
pub use reservation::{Claim, NoCapacity, Pools, Reservation};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

/// What a slot's value does when the slot comes home.
pub trait Recycle {
    /// Lets go of what the value holds elsewhere and keeps its own buffers.
    fn recycle(&mut self);
}

const NIL: u32 = u32::MAX;
const CLOSED: u32 = u32::MAX - 1;
const MAX_CHUNKS: usize = if cfg!(loom) { 4 } else { 4096 };

const fn pack(tag: u32, index: u32) -> u64 {
    (tag as u64) << 32 | index as u64
}

const fn unpack(head: u64) -> (u32, u32) {
    ((head >> 32) as u32, head as u32)
}

/// Steps aside for ever longer after lost exchanges, so that the head stays with one core for a while.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    #[cold]
    fn then<R>(&mut self, look_again: impl FnOnce() -> R) -> R {
        self.0 = (self.0 + 1).min(5);
        for _ in 0..1u32 << self.0 {
            std::hint::spin_loop();
        }
        look_again()
    }
}

pub(crate) struct Slot<T> {
    value: UnsafeCell<T>,
    refs: AtomicU32,
    next: AtomicU32,
    index: u32,
    pool: *const Inner<T>,
}

struct Inner<T> {
    head: CachePadded<AtomicU64>,
    chunks: Box<[AtomicPtr<Slot<T>>]>,
    chunk_bits: u32,
    capacity: AtomicU32,
    growing: Mutex<()>,
    /// Slots that were out when the pool was dropped, less those that came home since.
    orphans: AtomicI64,
    exhausted: AtomicU64,
}

impl<T> Inner<T> {
    #[inline]
    fn slot(&self, index: u32) -> NonNull<Slot<T>> {
        let chunk = self.chunks[(index >> self.chunk_bits) as usize].load(Ordering::Acquire);
        let offset = (index & ((1 << self.chunk_bits) - 1)) as usize;
        // SAFETY: an index is only ever read from the free list, where `grow` put it after it had published the whole
        // chunk, so `chunk` is a live allocation of `1 << chunk_bits` slots and `offset` lies inside it.
        unsafe { NonNull::new_unchecked(chunk.add(offset)) }
    }

    /// Puts the chain `first..=last` on the free list; false when the pool is closed.
    #[inline]
    fn push(&self, first: u32, last: NonNull<Slot<T>>) -> bool {
        let mut head = self.head.load(Ordering::Relaxed);
        let mut backoff = Backoff::default();
        loop {
            let (tag, index) = unpack(head);
            if index == CLOSED {
                return false;
            }
            // SAFETY: the caller owns the chain until the exchange succeeds, and slots live as long as `self`.
            unsafe { last.as_ref() }.next.store(index, Ordering::Relaxed);
            // Release: whoever pops the slot sees its links and its recycled value.
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

    #[inline]
    fn pop(&self) -> Option<NonNull<Slot<T>>> {
        let mut head = self.head.load(Ordering::Acquire);
        let mut backoff = Backoff::default();
        loop {
            let (tag, index) = unpack(head);
            if index == NIL {
                return None;
            }
            let slot = self.slot(index);
            // SAFETY: slots live as long as `self`; another thread may have popped this one meanwhile, then `next` is
            // stale and the exchange fails on the tag.
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

    /// Counts the chain that starts at `index`.
    fn count(&self, mut index: u32) -> u32 {
        let mut n = 0;
        while index < CLOSED {
            n += 1;
            // SAFETY: slots live as long as `self`.
            index = unsafe { self.slot(index).as_ref() }.next.load(Ordering::Relaxed);
        }
        n
    }
}

/// Returns a slot that nobody else can reach.
#[inline]
fn give_back<T: Recycle>(slot: NonNull<Slot<T>>) {
    // SAFETY: the caller is the slot's only holder, so the pool, which outlives every slot that is out, is alive.
    let (inner, index) = unsafe { (slot.as_ref().pool, slot.as_ref().index) };
    // SAFETY: as above; nobody else reads or writes the value.
    unsafe { slot.as_ref().value.with_mut(|value| (*value).recycle()) };
    // SAFETY: as above.
    let closed = unsafe { !(*inner).push(index, slot) };
    if closed {
        // SAFETY: the pool's memory waits for this slot to be counted down.
        let left = unsafe { (*inner).orphans.fetch_sub(1, Ordering::AcqRel) } - 1;
        if left == 0 {
            // SAFETY: all slots are home and the pool's handle is gone: this was the last reference.
            unsafe { free(inner.cast_mut()) };
        }
    }
}

/// Frees a pool whose handle is gone and whose slots are all home.
///
/// # Safety
/// Nobody else may hold a slot or the pool.
unsafe fn free<T>(inner: *mut Inner<T>) {
    // SAFETY: `inner` came from `Box::into_raw` in `Pool::new` and the caller holds the last reference.
    let inner = unsafe { Box::from_raw(inner) };
    for chunk in &inner.chunks {
        let chunk = chunk.load(Ordering::Acquire);
        if !chunk.is_null() {
            let slots = std::ptr::slice_from_raw_parts_mut(chunk, 1 << inner.chunk_bits);
            // SAFETY: `grow` leaked exactly this boxed slice.
            drop(unsafe { Box::from_raw(slots) });
        }
    }
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
    /// Makes an empty pool that grows by chunks of `2^chunk_bits` slots, each made by `make`.
    pub fn new(chunk_bits: u32, make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        let inner = Inner {
            head: CachePadded(AtomicU64::new(pack(0, NIL))),
            chunks: (0..MAX_CHUNKS).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect(),
            chunk_bits,
            capacity: AtomicU32::new(0),
            growing: Mutex::new(()),
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

    /// Grows by whole chunks until there are at least `slots`; returns the capacity then, which is lower only when the
    /// table of chunks is full.
    pub fn grow_to(&self, slots: usize) -> usize {
        let inner = self.inner();
        let _one_at_a_time = lock(&inner.growing);
        let per_chunk = 1usize << inner.chunk_bits;
        let mut capacity = inner.capacity.load(Ordering::Relaxed) as usize;
        while capacity < slots && capacity / per_chunk < MAX_CHUNKS {
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
            // SAFETY: the last slot of the chunk just made.
            let last = unsafe { NonNull::new_unchecked(chunk.add(per_chunk - 1)) };
            capacity += per_chunk;
            inner.capacity.store(capacity as u32, Ordering::Release);
            inner.push(base, last);
        }
        capacity
    }

    /// Borrows a slot, or `None` (counted) when every slot is out.
    #[inline]
    pub fn borrow(&self) -> Option<Unique<T>> {
        let inner = self.inner();
        let slot = inner.pop();
        if slot.is_none() {
            inner.exhausted.fetch_add(1, Ordering::Relaxed);
        }
        slot.map(|slot| Unique { slot })
    }

    /// Borrows a slot, waiting up to `patience` for one to come home. Waiting is polling: a return must not pay for
    /// looking whether anybody waits.
    pub fn borrow_within(&self, patience: Duration) -> Option<Unique<T>> {
        if let Some(slot) = self.borrow() {
            return Some(slot);
        }
        let deadline = Instant::now() + patience;
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

    /// Returns how many slots there are.
    pub fn capacity(&self) -> usize {
        self.inner().capacity.load(Ordering::Acquire) as usize
    }

    /// Returns how many slots are home: exact when the pool is at rest, an estimate while it is in use.
    pub fn free(&self) -> usize {
        let inner = self.inner();
        let mut n = 0;
        for _ in 0..3 {
            let head = inner.head.load(Ordering::Acquire);
            let mut index = unpack(head).1;
            n = 0;
            while index < CLOSED && n <= self.capacity() {
                n += 1;
                // SAFETY: slots live as long as `self`.
                index = unsafe { inner.slot(index).as_ref() }.next.load(Ordering::Relaxed);
            }
            if inner.head.load(Ordering::Acquire) == head {
                break;
            }
        }
        n.min(self.capacity())
    }

    /// Returns how often a borrow found nothing.
    pub fn exhausted(&self) -> u64 {
        self.inner().exhausted.load(Ordering::Relaxed)
    }
}

impl<T: Recycle> Drop for Pool<T> {
    fn drop(&mut self) {
        let inner = self.inner.as_ptr();
        // SAFETY: freed only when every slot is home, below or by the last slot's return.
        let out = unsafe {
            let head = (*inner).head.swap(pack(0, CLOSED), Ordering::AcqRel);
            let home = (*inner).count(unpack(head).1);
            i64::from((*inner).capacity.load(Ordering::Acquire)) - i64::from(home)
        };
        // Slots that came home since the swap have counted below zero; whoever brings the sum to zero frees.
        // SAFETY: as above.
        let before = unsafe { (*inner).orphans.fetch_add(out, Ordering::AcqRel) };
        if before + out == 0 {
            // SAFETY: all slots are home and this is the only handle.
            unsafe { free(inner) };
        }
    }
}

/// The only handle to a slot: may read and write.
pub struct Unique<T: Recycle> {
    slot: NonNull<Slot<T>>,
}

// SAFETY: a unique handle is the value, moved.
unsafe impl<T: Recycle + Send + Sync> Send for Unique<T> {}
// SAFETY: `&Unique` gives `&T` only.
unsafe impl<T: Recycle + Send + Sync> Sync for Unique<T> {}

impl<T: Recycle> Unique<T> {
    /// Gives the slot to `readers`, at least one, all handed out by the result.
    #[inline]
    pub fn share(self, readers: u32) -> Readers<T> {
        let slot = self.slot;
        std::mem::forget(self);
        // SAFETY: we are the slot's only holder. Relaxed: each reader gets its handle through a release of its queue.
        unsafe { slot.as_ref() }.refs.store(readers.max(1), Ordering::Relaxed);
        Readers { slot, left: readers.max(1) }
    }

    /// Gives the slot to one reader.
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

/// The readers of one slot that were not handed out yet.
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

/// One of the readers of a slot.
pub struct Shared<T: Recycle> {
    slot: NonNull<Slot<T>>,
}

// SAFETY: readers share the value (`T: Sync`) and any of them may be the one to recycle it (`T: Send`).
unsafe impl<T: Recycle + Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Recycle + Send + Sync> Sync for Shared<T> {}

impl<T: Recycle> Shared<T> {
    #[inline]
    pub(crate) fn into_raw(self) -> *mut Slot<T> {
        let slot = self.slot.as_ptr();
        std::mem::forget(self);
        slot
    }

    /// # Safety
    /// `slot` must come from [`Self::into_raw`], and each such pointer may come back once.
    #[inline]
    pub(crate) unsafe fn from_raw(slot: *mut Slot<T>) -> Self {
        // SAFETY: `into_raw` never gives null.
        Self { slot: unsafe { NonNull::new_unchecked(slot) } }
    }
}

impl<T: Recycle> Deref for Shared<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: nobody writes while readers exist.
        unsafe { self.slot.as_ref().value.with(|value| &*value) }
    }
}

impl<T: Recycle> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: we hold the slot. Relaxed: the new handle is made from one that is already held.
        unsafe { self.slot.as_ref() }.refs.fetch_add(1, Ordering::Relaxed);
        Self { slot: self.slot }
    }
}

impl<T: Recycle> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: we hold the slot.
        let refs = unsafe { &self.slot.as_ref().refs };
        // The last reader sees one and needs no exchange: nobody else can make another handle.
        if refs.load(Ordering::Acquire) != 1 {
            if refs.fetch_sub(1, Ordering::Release) != 1 {
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
