//! How long one advance may take.

use std::time::{Duration, Instant};

/// Limits an advance by the time that it takes, because the cost of an action depends on its readers.
#[derive(Debug)]
pub struct Budget {
    deadline: Option<Instant>,
    unchecked: u32,
}

impl Budget {
    /// Actions between two readings of the clock.
    const ACTIONS: u32 = 8;

    /// Returns a budget without a limit.
    pub const fn unlimited() -> Self {
        Self { deadline: None, unchecked: 0 }
    }

    /// Returns a budget of some time from now.
    pub fn within(time: Duration) -> Self {
        Self { deadline: Some(Instant::now() + time), unchecked: Self::ACTIONS }
    }

    /// Counts an action. Returns whether the time is over.
    #[inline]
    pub(super) fn is_spent(&mut self) -> bool {
        let Some(deadline) = self.deadline else { return false };
        if self.unchecked > 0 {
            self.unchecked -= 1;
            return false;
        }
        self.unchecked = Self::ACTIONS;
        Instant::now() >= deadline
    }
}
