//! What goes wrong at a venue, drawn from its seed: each kind of fault has a stream of its own, so that none of them
//! moves another, or the market.

use super::options::OptionErrors;
use super::random::Random;
use crate::event::Nanos;

/// Faults of a venue. Zero means none; times are the venue's.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Behavior {
    /// Least time that a request, and whatever is told, takes on its way.
    pub latency_min: Nanos,
    /// Most time.
    pub latency_max: Nanos,
    /// Probability that a request fails: as likely before it was done as after.
    pub transient_error: f64,
    /// Probability, a second, that all connections are cut.
    pub disconnect_chance: f64,
    /// How long the venue is away then.
    pub disconnect_for: Nanos,
    /// Probability that a new order is rejected for nothing.
    pub reject: f64,
    /// Probability that a report is late.
    pub report_late: f64,
    /// By how much.
    pub report_late_for: Nanos,
    /// Probability that a report is told twice.
    pub report_duplicate: f64,
    /// Probability that a report is told after the next one.
    pub report_reorder: f64,
}

impl Behavior {
    /// An hour: no time may be longer.
    const MAX_TIME: Nanos = 3_600_000_000_000;

    /// Checks everything that no type rules out.
    ///
    /// # Errors
    /// All that is wrong.
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
                faults.push(format!("venue_behavior.{key}: expected 0 to 1, seen {probability}"));
            }
        }
        for (key, time) in [
            ("latency_min", self.latency_min),
            ("latency_max", self.latency_max),
            ("disconnect_for", self.disconnect_for),
            ("report_late_for", self.report_late_for),
        ] {
            if !(0..=Self::MAX_TIME).contains(&time) {
                faults.push(format!("venue_behavior.{key}: expected 0 to an hour, seen {time} ns"));
            }
        }
        if self.report_late_for == 0 && (self.report_late > 0.0 || self.report_reorder > 0.0) {
            let text = "expected above 0 where reports are late or reordered, seen 0";
            faults.push(format!("venue_behavior.report_late_for: {text}"));
        }
        let (least, most) = (self.latency_min, self.latency_max);
        if most < least {
            let text = format!("expected latency_min ({least} ns) or more, seen {most} ns");
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
    /// Nothing was done.
    Before,
    /// It was done, and the answer is lost.
    After,
}

/// What becomes of requests.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    latencies: Random,
    failures: Random,
    moods: Random,
}

impl Requests {
    pub fn new(seed: u64) -> Self {
        let stream = |name| Random::new(seed, name);
        Self {
            latencies: stream("request latency"),
            failures: stream("request failure"),
            moods: stream("reject"),
        }
    }

    /// Draws how long a request takes to come, and whether it fails.
    pub fn fate(&mut self, behavior: &Behavior) -> (Nanos, Option<Failure>) {
        let latency = behavior.latency(&mut self.latencies);
        let fails = self.failures.chance(behavior.transient_error);
        let before = self.failures.chance(0.5);
        (latency, fails.then_some(if before { Failure::Before } else { Failure::After }))
    }

    /// Draws whether a new order is rejected for nothing.
    pub fn rejects(&mut self, behavior: &Behavior) -> bool {
        self.moods.chance(behavior.reject)
    }
}

/// What becomes of all that is told.
#[derive(Debug, Clone)]
pub(super) struct Delays {
    latencies: Random,
    reports: Random,
}

/// What becomes of one report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ReportFate {
    pub late: bool,
    pub twice: bool,
    pub after_next: bool,
}

impl Delays {
    pub fn new(seed: u64) -> Self {
        Self { latencies: Random::new(seed, "latency"), reports: Random::new(seed, "reports") }
    }

    /// Returns the latency of a step of time: the same whatever was drawn before.
    pub fn latency_at(&self, behavior: &Behavior, step: i64) -> Nanos {
        behavior.latency(&mut self.latencies.at(step as u64))
    }

    pub fn report(&mut self, behavior: &Behavior) -> ReportFate {
        // Drawn in this order, each whatever the others are.
        ReportFate {
            late: self.reports.chance(behavior.report_late),
            twice: self.reports.chance(behavior.report_duplicate),
            after_next: self.reports.chance(behavior.report_reorder),
        }
    }
}

/// Whether clients are connected, second by second.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    random: Random,
    /// When it is drawn again.
    pub next_draw: Nanos,
    /// When the venue is back; `None` while it is there.
    pub away_until: Option<Nanos>,
}

impl Connection {
    const SECOND: Nanos = 1_000_000_000;

    pub fn new(seed: u64, now: Nanos) -> Self {
        let next_draw = now.saturating_add(Self::SECOND);
        Self { random: Random::new(seed, "connection"), next_draw, away_until: None }
    }

    /// Returns when there is something to do.
    pub fn next_due(&self) -> Nanos {
        self.away_until.map_or(self.next_draw, |back| back.min(self.next_draw))
    }

    /// Draws whether the connections are cut now.
    pub fn draw(&mut self, behavior: &Behavior) -> bool {
        self.next_draw = self.next_draw.saturating_add(Self::SECOND);
        self.random.chance(behavior.disconnect_chance)
    }
}
