//! The private lane: a list that grows, for events that are never dropped.

use crate::event::Event;
use crate::sync::{Arc, AtomicPtr, AtomicUsize, Mutex, Ordering, UnsafeCell, lock};

struct Node {
    event: Option<Arc<Event>>,
    next: AtomicPtr<Node>,
}

impl Node {
    fn boxed(event: Option<Arc<Event>>) -> *mut Self {
        Box::into_raw(Box::new(Self { event, next: AtomicPtr::new(std::ptr::null_mut()) }))
    }
}

/// A node of a private lane, allocated before the dispatch lock is taken.
pub(crate) struct Place(*mut Node);

impl Place {
    pub(crate) fn new() -> Self {
        Self(Node::boxed(None))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: `push` clears the pointer when it links the node; an unlinked node has no other owner.
            drop(unsafe { Box::from_raw(self.0) });
        }
    }
}

/// The consumer's end. The node is spent; its successor is the oldest event.
struct Head(*mut Node);

// SAFETY: the list owns its nodes, whose events move between threads.
unsafe impl Send for Head {}

impl Head {
    /// Removes the oldest event if its number is at most `bound`.
    fn pop(&mut self, bound: u64) -> Option<Arc<Event>> {
        // SAFETY: only the holder of `self` accesses the spent node. A non-null `next` was released by the producer,
        // which does not access the spent node again.
        unsafe {
            let next = (*self.0).next.load(Ordering::Acquire);
            let event = next.as_mut()?.event.as_ref()?;
            if event.header().seq > bound {
                return None;
            }
            let event = (*next).event.take();
            drop(Box::from_raw(std::mem::replace(&mut self.0, next)));
            event
        }
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        while self.pop(u64::MAX).is_some() {}
        // SAFETY: the spent node is the last one.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// A growing list with one producer and one consumer at a time.
pub(super) struct Private {
    tail: UnsafeCell<*mut Node>,
    /// Locked once per batch. The reader contends only with the thread that closes the queue.
    head: Mutex<Head>,
    len: AtomicUsize,
}

impl Private {
    pub fn new() -> Self {
        let spent = Node::boxed(None);
        Self { tail: UnsafeCell::new(spent), head: Mutex::new(Head(spent)), len: AtomicUsize::new(0) }
    }

    /// Returns the number of queued events.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Appends `event`. Producer only.
    pub fn push(&self, mut place: Place, event: Arc<Event>) {
        let node = std::mem::replace(&mut place.0, std::ptr::null_mut());
        // SAFETY: the node has no other owner until it is linked. Only the producer accesses `tail`, and the consumer
        // frees its node only after `next` was set, which happens here.
        unsafe {
            (*node).event = Some(event);
            self.tail.with_mut(|tail| {
                (**tail).next.store(node, Ordering::Release);
                *tail = node;
            });
        }
        // Release: a consumer that counts the event also finds it.
        self.len.fetch_add(1, Ordering::Release);
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Passes up to `max` events whose number is at most `bound` to `each`, oldest first. Returns their number.
    #[inline]
    pub fn take(&self, bound: u64, max: usize, mut each: impl FnMut(Arc<Event>)) -> usize {
        if self.is_empty() {
            return 0;
        }
        let mut head = lock(&self.head);
        let mut taken = 0;
        while taken < max
            && let Some(event) = head.pop(bound)
        {
            taken += 1;
            each(event);
        }
        self.len.fetch_sub(taken, Ordering::Release);
        taken
    }

    /// Frees every event.
    pub fn clear(&self) {
        self.take(u64::MAX, usize::MAX, drop);
    }
}
