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

    /// Whether the state is final.
    pub const fn has_ended(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Stuck)
    }

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

#[cfg(test)]
mod tests {
    use super::{AtomicU8, Ordering, State, StateCell};
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    /// Two threads change the same cells in step; returns how often both or none succeeded, or the state is not that of
    /// the winner.
    fn race(from: State, changes: [State; 2], change: impl Fn(&StateCell, State) -> bool + Sync) -> usize {
        const CELLS: usize = 40_000;
        let cells: Vec<_> =
            std::iter::repeat_with(|| StateCell(AtomicU8::new(from as u8))).take(CELLS).collect();
        let places = [AtomicUsize::new(0), AtomicUsize::new(0)];
        let run = |own: usize| {
            let mut won = Vec::new();
            for (place, cell) in cells.iter().enumerate() {
                places[own].store(place, Ordering::Release);
                for turn in 1.. {
                    if places[1 - own].load(Ordering::Acquire) >= place {
                        break;
                    }
                    if turn % 1024 == 0 {
                        thread::yield_now();
                    }
                }
                // The one that waited continues later: each delay of one thread meets each of the other.
                for _ in 0..(if own == 0 { place } else { place / 16 }) % 16 {
                    std::hint::black_box(place);
                }
                won.push(change(cell, changes[own]));
            }
            won
        };
        let run = &run;
        let won = thread::scope(|scope| {
            let threads = [0, 1].map(|own| scope.spawn(move || run(own)));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        let winner = |n: usize| match (won[0][n], won[1][n]) {
            (true, false) => Some(changes[0]),
            (false, true) => Some(changes[1]),
            _ => None,
        };
        (0..CELLS).filter(|&n| winner(n) != Some(cells[n].get())).count()
    }

    #[test]
    fn one_of_two_final_states_wins() {
        assert_eq!(race(State::Stopping, [State::Stopped, State::Stuck], StateCell::enter), 0);
    }

    #[test]
    fn a_start_or_a_stop_before_it_wins() {
        let change = |cell: &StateCell, to| cell.change(State::Created, to);
        assert_eq!(race(State::Created, [State::Starting, State::Stopped], change), 0);
    }

    #[test]
    fn a_final_state_does_not_change() {
        for from in [State::Stopped, State::Failed, State::Stuck] {
            for to in State::ALL {
                let cell = StateCell(AtomicU8::new(from as u8));
                assert!(!cell.enter(to), "{from:?} to {to:?}");
                assert_eq!(cell.get(), from);
            }
        }
    }
}
