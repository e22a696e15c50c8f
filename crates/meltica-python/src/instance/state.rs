//! The states of an instance and the transitions between them.

use std::sync::atomic::{AtomicU8, Ordering};

/// The life-cycle state of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Created,
    /// The host has to run `on_start`, or runs it.
    Starting,
    Running,
    Stopping,
    Stopped,
    Failed,
    Stuck,
}

impl State {
    const ALL: [Self; 7] = [
        Self::Created,
        Self::Starting,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
        Self::Stuck,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
        }
    }

    /// Every allowed transition. The last three states are final.
    const fn next(self) -> &'static [Self] {
        match self {
            Self::Created => &[Self::Starting, Self::Stopped],
            Self::Starting => &[Self::Running, Self::Stopping, Self::Stopped, Self::Failed],
            Self::Running => &[Self::Stopping, Self::Failed],
            Self::Stopping => &[Self::Stopped, Self::Failed, Self::Stuck],
            Self::Stopped | Self::Failed | Self::Stuck => &[],
        }
    }

    fn leads_to(self, to: Self) -> bool {
        self.next().contains(&to)
    }

    fn of(number: u8) -> Self {
        Self::ALL[usize::from(number)]
    }
}

/// A state that several threads change; each change is one exchange, so a transition is never lost or undone.
pub struct StateCell(AtomicU8);

impl StateCell {
    pub fn new() -> Self {
        Self(AtomicU8::new(State::Created as u8))
    }

    #[inline]
    pub fn get(&self) -> State {
        State::of(self.0.load(Ordering::Acquire))
    }

    /// Changes the state to `to` if that is an allowed transition; otherwise changes nothing and returns false.
    pub fn enter(&self, to: State) -> bool {
        let allowed = |now| State::of(now).leads_to(to).then_some(to as u8);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, allowed).is_ok()
    }

    /// Changes the state if it is `from`; otherwise changes nothing and returns false.
    pub fn change(&self, from: State, to: State) -> bool {
        debug_assert!(from.leads_to(to), "Invariant: {from:?} does not lead to {to:?}");
        self.0.compare_exchange(from as u8, to as u8, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
