//! The text of a scrape: families of series, limited in number, in the formats of Prometheus and of `OpenMetrics`.

mod feeds;
mod limit;
mod text;

pub use feeds::feed_families;
pub use limit::limit;
pub use text::text;

use crate::stats::{BOUNDS, FANOUT_BOUNDS, Fanout, Histogram};
use std::borrow::Cow;
use std::sync::LazyLock;

/// What a family measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A sum that only grows; `_total` is added to the name of its series.
    Counter,
    /// A value that may fall.
    Gauge,
    /// A distribution of values.
    Histogram,
}

impl Type {
    /// Returns the name in the text formats.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// Returns the type with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Counter, Self::Gauge, Self::Histogram].into_iter().find(|each| each.name() == name)
    }
}

/// The upper bounds of the buckets of a distribution, with their labels.
#[derive(Debug)]
pub struct Bounds {
    /// The bounds, ascending.
    pub values: Vec<f64>,
    labels: Vec<String>,
}

impl Bounds {
    fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<_> = values.into_iter().collect();
        Self { labels: values.iter().map(|bound| text::bound(*bound)).collect(), values }
    }
}

/// The bounds of durations, seconds.
pub static SECONDS: LazyLock<Bounds> = LazyLock::new(|| Bounds::new(BOUNDS.map(|ns| ns as f64 / 1e9)));
/// The bounds of numbers of queues.
pub static QUEUES: LazyLock<Bounds> = LazyLock::new(|| Bounds::new(FANOUT_BOUNDS.map(|n| n as f64)));

/// How many values are at most each bound, and their sum.
#[derive(Debug, Clone)]
pub struct Distribution {
    /// The bounds.
    pub bounds: &'static Bounds,
    /// The number of values up to each bound.
    pub counts: Vec<u64>,
    /// The number of all values.
    pub total: u64,
    /// Their sum.
    pub sum: f64,
}

impl Distribution {
    /// Returns the durations of a histogram, seconds.
    pub fn of(histogram: &Histogram) -> Self {
        let (counts, sum, total) = histogram.cumulative();
        Self { bounds: &SECONDS, counts: counts.to_vec(), total, sum: sum as f64 / 1e9 }
    }

    /// Returns the numbers of queues of the events of a provider.
    pub fn of_fanout(fanout: &Fanout) -> Self {
        let (counts, sum, total) = fanout.cumulative();
        Self { bounds: &QUEUES, counts: counts.to_vec(), total, sum: sum as f64 }
    }
}

/// The value of a row.
#[derive(Debug, Clone)]
pub enum Value {
    /// Of a counter or gauge.
    Number(f64),
    /// Of a histogram.
    Distribution(Distribution),
}

impl Value {
    /// Returns the number of series.
    fn series(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Distribution(of) => of.counts.len() + 3,
        }
    }

    /// Adds another value of the same family.
    fn add(&mut self, other: &Self) {
        match (self, other) {
            (Self::Number(sum), Self::Number(value)) => *sum += value,
            (Self::Distribution(sum), Self::Distribution(value)) => {
                sum.counts.iter_mut().zip(&value.counts).for_each(|(sum, count)| *sum += count);
                sum.total += value.total;
                sum.sum += value.sum;
            }
            _ => {}
        }
    }
}

/// A text that is mostly one of the program's.
pub type Text = Cow<'static, str>;

/// The values of the labels of a family, and what they measure.
#[derive(Debug, Clone)]
pub struct Row {
    /// One value per label.
    pub labels: Vec<Text>,
    /// The value.
    pub value: Value,
}

impl Row {
    /// Returns a row of a counter or gauge.
    pub fn number(labels: impl IntoIterator<Item = Text>, value: f64) -> Self {
        Self { labels: labels.into_iter().collect(), value: Value::Number(value) }
    }

    /// Returns a row of a histogram.
    pub fn distribution(labels: impl IntoIterator<Item = Text>, value: Distribution) -> Self {
        Self { labels: labels.into_iter().collect(), value: Value::Distribution(value) }
    }
}

/// A family: what has one name and one meaning.
#[derive(Debug, Clone)]
pub struct Family {
    /// The name, without the `_total` of a counter.
    pub name: Text,
    /// The type.
    pub kind: Type,
    /// The meaning, one sentence.
    pub help: Text,
    /// The names of the labels.
    pub labels: Vec<Text>,
    /// The rows, each with other labels.
    pub rows: Vec<Row>,
}

impl Family {
    /// Returns a family of the program.
    pub fn new(
        kind: Type,
        name: &'static str,
        help: &'static str,
        labels: &[&'static str],
        rows: Vec<Row>,
    ) -> Self {
        let labels = labels.iter().map(|label| Text::Borrowed(*label)).collect();
        Self { name: name.into(), kind, help: help.into(), labels, rows }
    }

    /// Returns the number of series.
    pub fn series(&self) -> usize {
        self.rows.iter().map(|row| row.value.series()).sum()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
