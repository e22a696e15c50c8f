//! The event objects of one host's thread.
//!
//! One object per kind is reused for as long as only the host holds it, so an event usually costs neither an allocation
//! nor a garbage collection. An object that a lambda keeps is never reused: the host makes another one.

use crate::callback::references;
use crate::events::{Body, Content, PyEvent, make};
use meltica_core::event::{Event, Kind, Payload};
use pyo3::prelude::*;

/// The reusable object of each kind.
pub struct Objects {
    spare: [Option<Py<PyAny>>; Kind::COUNT],
}

impl Default for Objects {
    fn default() -> Self {
        Self { spare: [const { None }; Kind::COUNT] }
    }
}

impl Objects {
    /// Returns an object of `event`, a book's cut to `depth` levels, that only the caller holds.
    #[inline]
    pub fn make<'py>(&mut self, py: Python<'py>, event: &Event, depth: u32) -> PyResult<Bound<'py, PyAny>> {
        let Some(object) = self.spare[event.header().kind as usize].take() else {
            return make(py, Content::of(event, depth));
        };
        let object = object.into_bound(py);
        // SAFETY: every object made here is a `PyEvent`, of the class that its kind has.
        let base = unsafe { object.cast_unchecked::<PyEvent>() };
        // SAFETY: a spare object has no other reference than ours, and the interpreter is held.
        unsafe { base.get().content().renew(|content| content.take(event, depth)) };
        Ok(object)
    }

    /// Takes an object back after its callbacks. A book returns its slot; if a lambda kept the book, its levels are
    /// copied to the heap first.
    #[inline]
    pub fn take_back(&mut self, object: Bound<'_, PyAny>) {
        // SAFETY: every object made here is a `PyEvent`.
        let event = unsafe { object.cast_unchecked::<PyEvent>() }.get();
        if references(&object) > 1 {
            if let Body::Book(book) = event.body() {
                book.keep();
            }
            return;
        }
        let kind = event.content().get().header.kind;
        // The others have no memory of their own that is worth to return.
        if matches!(event.body(), Body::Book(_) | Body::Plain(Payload::Extension(_))) {
            // SAFETY: ours is the only reference, and the interpreter is held.
            unsafe { event.content().renew(|content| content.body = Body::Plain(Payload::Empty)) };
        }
        self.spare[kind as usize] = Some(object.unbind());
    }
}
