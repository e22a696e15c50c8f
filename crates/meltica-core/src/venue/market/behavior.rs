//! Simulated faults of a venue. Each kind of fault has a random stream of its own, so faults influence neither each
//! other nor the market.

use super::options::OptionErrors;
use super::random::Random;
use crate::event::Nanos;

/// Faults of a venue. Zero disables a fault; times are virtual.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Behavior {
    /// Minimum latency of a request and of a published message.
    pub latency_min: Nanos,
    /// Maximum latency.
    pub latency_max: Nanos,
    /// Probability that a request fails: before or after its execution, with equal probability.
    pub transient_error: f64,
    /// Probability per second that all connections are cut.
    pub disconnect_chance: f64,
    /// Duration of such a disconnect.
    pub disconnect_for: Nanos,
    /// Probability that a valid new order is rejected.
    pub reject: f64,
    /// Probability that a report is delayed.
    pub report_late: f64,
    /// Delay of such a report.
    pub report_late_for: Nanos,
    /// Probability that a report is sent twice.
    pub report_duplicate: f64,
    /// Probability that a report arrives after the next one.
    pub report_reorder: f64,
}

impl Behavior {
    /// Maximum of every duration: one hour.
    const MAX_TIME: Nanos = 3_600_000_000_000;

    /// Validates the values.
    ///
    /// # Errors
    /// All faults.
    pub fn check(&self) -> Result<(), OptionErrors> {
        let mut faults = Vec::new();
        for (key, probability) in [
            ("transient_error", self.transient_error),
            ("disconnect_chance", self.disconnect_chance),
            ("reject", self.reject),
            ("report_late", self.report_late),
            ("report_duplicate", self.report_duplicate),
            ("report_reorder", self.report_reorder),
        ] {
            if !(0.0..=1.0).contains(&probability) {
                faults.push(format!("venue_behavior.{key}: expected 0 to 1, saw {probability}"));
            }
        }
        for (key, time) in [
            ("latency_min", self.latency_min),
            ("latency_max", self.latency_max),
            ("disconnect_for", self.disconnect_for),
            ("report_late_for", self.report_late_for),
        ] {
            if !(0..=Self::MAX_TIME).contains(&time) {
                faults.push(format!("venue_behavior.{key}: expected 0 to an hour, saw {time} ns"));
            }
        }
        if self.report_late_for == 0 && (self.report_late > 0.0 || self.report_reorder > 0.0) {
            let text = "expected above 0 where reports are late or reordered, saw 0";
            faults.push(format!("venue_behavior.report_late_for: {text}"));
        }
        let (least, most) = (self.latency_min, self.latency_max);
        if most < least {
            let text = format!("expected latency_min ({least} ns) or more, saw {most} ns");
            faults.push(format!("venue_behavior.latency_max: {text}"));
        }
        if faults.is_empty() { Ok(()) } else { Err(OptionErrors(faults)) }
    }

    fn latency(&self, random: &mut Random) -> Nanos {
        let spread = (self.latency_max - self.latency_min) as u64;
        self.latency_min + random.below(spread + 1) as Nanos
    }
}

/// Where a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Before its execution; nothing changed.
    Before,
    /// After its execution; the response was lost.
    After,
    /// The response was lost, and the request is never carried out.
    Never,
    /// The response was lost, and the request is carried out after a delay: see [`SimulatedVenue::later`].
    ///
    /// [`SimulatedVenue::later`]: super::SimulatedVenue::later
    Later(Nanos),
}

/// Draws latency and failure of requests.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    latencies: Random,
    failures: Random,
    rejections: Random,
}

impl Requests {
    pub fn new(seed: u64) -> Self {
        let stream = |name| Random::new(seed, name);
        Self {
            latencies: stream("request latency"),
            failures: stream("request failure"),
            rejections: stream("reject"),
        }
    }

    /// Draws a request's latency and failure.
    pub fn draw(&mut self, behavior: &Behavior) -> (Nanos, Option<Failure>) {
        let latency = behavior.latency(&mut self.latencies);
        let fails = self.failures.chance(behavior.transient_error);
        let before = self.failures.chance(0.5);
        (latency, fails.then_some(if before { Failure::Before } else { Failure::After }))
    }

    /// Draws whether a valid new order is rejected.
    pub fn rejects(&mut self, behavior: &Behavior) -> bool {
        self.rejections.chance(behavior.reject)
    }
}

/// Draws latencies of messages and faults of reports.
#[derive(Debug, Clone)]
pub(super) struct Delays {
    latencies: Random,
    reports: Random,
}

/// The faults of one report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ReportFaults {
    pub late: bool,
    pub twice: bool,
    pub after_next: bool,
}

impl Delays {
    pub fn new(seed: u64) -> Self {
        Self { latencies: Random::new(seed, "latency"), reports: Random::new(seed, "reports") }
    }

    /// Returns the latency of a time step, independent of earlier draws.
    pub fn latency_at(&self, behavior: &Behavior, step: i64) -> Nanos {
        behavior.latency(&mut self.latencies.at(step as u64))
    }

    pub fn report(&mut self, behavior: &Behavior) -> ReportFaults {
        // All three are drawn in this order, independent of their results.
        ReportFaults {
            late: self.reports.chance(behavior.report_late),
            twice: self.reports.chance(behavior.report_duplicate),
            after_next: self.reports.chance(behavior.report_reorder),
        }
    }
}

/// Draws disconnects, once per second.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    random: Random,
    /// Time of the next draw.
    pub next_draw: Nanos,
    /// End of the current disconnect; `None` while connected.
    pub disconnected_until: Option<Nanos>,
}

impl Connection {
    const SECOND: Nanos = 1_000_000_000;

    pub fn new(seed: u64, now: Nanos) -> Self {
        let next_draw = now.saturating_add(Self::SECOND);
        Self { random: Random::new(seed, "connection"), next_draw, disconnected_until: None }
    }

    /// Returns the next due time.
    pub fn next_due(&self) -> Nanos {
        self.disconnected_until.map_or(self.next_draw, |back| back.min(self.next_draw))
    }

    /// Draws whether to cut the connections now.
    pub fn draw(&mut self, behavior: &Behavior) -> bool {
        self.next_draw = self.next_draw.saturating_add(Self::SECOND);
        self.random.chance(behavior.disconnect_chance)
    }
}
