//! The private lane: a list that grows, for events that are never dropped.

use crate::event::Event;
use crate::sync::{Arc, AtomicPtr, AtomicUsize, Ordering, UnsafeCell};

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

/// A growing list with one producer and one consumer. The node at `head` is spent; its successor is the oldest event.
pub(super) struct Private {
    tail: UnsafeCell<*mut Node>,
    head: UnsafeCell<*mut Node>,
    len: AtomicUsize,
}

impl Private {
    pub fn new() -> Self {
        let spent = Node::boxed(None);
        Self { tail: UnsafeCell::new(spent), head: UnsafeCell::new(spent), len: AtomicUsize::new(0) }
    }

    /// Returns the number of queued events.
    #[inline]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Appends `event`. Producer only.
    pub fn push(&self, mut place: Place, event: Arc<Event>) {
        let node = std::mem::replace(&mut place.0, std::ptr::null_mut());
        // SAFETY: the node has no other owner until it is linked. Only the producer accesses `tail`, and the reader
        // frees its node only after `next` was set, which happens here.
        unsafe {
            (*node).event = Some(event);
            self.tail.with_mut(|tail| {
                (**tail).next.store(node, Ordering::Release);
                *tail = node;
            });
        }
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        // SAFETY: only the reader accesses `head`, and it calls this.
        unsafe { self.head.with(|head| (**head).next.load(Ordering::Acquire).is_null()) }
    }

    /// Removes the oldest event if its number is at most `bound`. Reader only.
    #[inline]
    pub fn take(&self, bound: u64) -> Option<Arc<Event>> {
        // SAFETY: only the reader accesses `head`. A non-null `next` was released by the producer, which does not
        // access the spent node again.
        unsafe {
            let head = self.head.with(|head| *head);
            let next = (*head).next.load(Ordering::Acquire);
            let event = next.as_mut()?.event.as_ref()?;
            if event.header().seq > bound {
                return None;
            }
            let event = (*next).event.take();
            self.head.with_mut(|head| *head = next);
            drop(Box::from_raw(head));
            self.len.fetch_sub(1, Ordering::Relaxed);
            event
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        while self.take(u64::MAX).is_some() {}
        // SAFETY: the spent node is the last one.
        drop(unsafe { Box::from_raw(self.head.with(|head| *head)) });
    }
}
