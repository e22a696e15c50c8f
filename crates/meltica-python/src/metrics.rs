//! The metrics of a scrape: families of the core, and those that Python hands over. The text is written detached.

mod lambdas;

use crate::convert::value_error;
use crate::core::{CoreShared, PyCore};
use crate::instance::{InstanceShared, PyInstance};
use crate::stats::PyHistogram;
use lambdas::lambda_families;
use meltica_core::metrics::{self, Distribution, Family, Row, Text, Type, Value};
use meltica_core::pool::{DepthClass, Pool, Pools, Recycle};
use pyo3::prelude::*;
use pyo3::types::PyString;
use std::sync::Arc;

/// The value of a row that Python hands over.
enum Cell {
    Number(f64),
    Histogram(Py<PyHistogram>),
    /// One of the states of the family.
    State(String),
}

impl Cell {
    fn of(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(histogram) = value.cast::<PyHistogram>() {
            return Ok(Self::Histogram(histogram.clone().unbind()));
        }
        if let Ok(state) = value.cast::<PyString>() {
            return Ok(Self::State(state.extract()?));
        }
        Ok(Self::Number(value.extract()?))
    }
}

/// What the families are read from.
enum Source {
    Family { of: Family, cells: Vec<(Vec<String>, Cell)>, states: Vec<String> },
    Core(Arc<CoreShared>),
    Lambdas(Vec<(String, Arc<InstanceShared>)>),
}

/// Families of metrics, which are read when their text is written.
#[pyclass(module = "meltica._core", name = "Metrics", frozen, immutable_type)]
pub struct PyMetrics(Source);

#[pymethods]
impl PyMetrics {
    /// Makes a `counter`, `gauge` or `histogram` from rows: (value of each label, number or histogram).
    ///
    /// With `states`, the value of each row is one of them, and the family has a series per state, which is 1 for that of
    /// the row. Raises `ValueError` for another type, and for rows of other lengths.
    #[new]
    #[pyo3(signature = (kind, name, help, labels, rows, states = Vec::new()))]
    fn new(
        kind: &str,
        name: String,
        help: String,
        labels: Vec<String>,
        rows: &Bound<'_, PyAny>,
        states: Vec<String>,
    ) -> PyResult<Self> {
        let kind = Type::from_name(kind)
            .ok_or_else(|| value_error(format!("expected a counter, gauge or histogram, saw {kind}")))?;
        let mut cells = Vec::new();
        let width = labels.len() - usize::from(!states.is_empty());
        for row in rows.try_iter()? {
            let (values, value): (Vec<String>, Bound<'_, PyAny>) = row?.extract()?;
            let cell = Cell::of(&value)?;
            let fits = match &cell {
                Cell::Number(_) => kind != Type::Histogram && states.is_empty(),
                Cell::Histogram(_) => kind == Type::Histogram,
                Cell::State(state) => states.contains(state),
            };
            if values.len() != width || !fits {
                return Err(value_error(format!(
                    "{name}: expected rows of {width} labels and a {}",
                    kind.name()
                )));
            }
            cells.push((values, cell));
        }
        let labels = labels.into_iter().map(Text::Owned).collect();
        let of = Family { name: name.into(), kind, help: help.into(), labels, rows: Vec::new() };
        Ok(Self(Source::Family { of, cells, states }))
    }

    /// Returns the families of the data plane: dispatch, pools and the feeds of providers.
    #[staticmethod]
    fn of_core(core: &PyCore) -> Self {
        Self(Source::Core(Arc::clone(&core.shared)))
    }

    /// Returns the families of instances: events, queues, callbacks and latencies, with the label `lambda`.
    #[staticmethod]
    fn of_lambdas(instances: Vec<(String, PyRef<'_, PyInstance>)>) -> Self {
        Self(Source::Lambdas(
            instances.into_iter().map(|(id, instance)| (id, Arc::clone(&instance.shared))).collect(),
        ))
    }
}

impl PyMetrics {
    fn read(&self) -> Vec<Family> {
        match &self.0 {
            Source::Family { of, cells, states } => vec![family(of, cells, states)],
            Source::Core(core) => core_families(core),
            Source::Lambdas(lambdas) => lambda_families(lambdas),
        }
    }
}

fn family(of: &Family, cells: &[(Vec<String>, Cell)], states: &[String]) -> Family {
    let mut rows = Vec::with_capacity(cells.len() * states.len().max(1));
    for (values, cell) in cells {
        let labels = || values.iter().cloned().map(Text::Owned);
        match cell {
            Cell::Number(value) => rows.push(Row::number(labels(), *value)),
            Cell::Histogram(histogram) => {
                rows.push(Row::distribution(labels(), Distribution::of(&histogram.get().0)));
            }
            Cell::State(current) => rows.extend(states.iter().map(|state| {
                Row::number(labels().chain([state.clone().into()]), f64::from(u8::from(state == current)))
            })),
        }
    }
    Family { rows, ..of.clone() }
}

fn core_families(core: &CoreShared) -> Vec<Family> {
    let mut families = metrics::feed_families(&core.feeds.all());
    let number = |kind, name, help, value| Family::new(kind, name, help, &[], vec![Row::number([], value)]);
    let fanouts = core.dispatcher.fanouts().into_iter();
    families.extend([
        Family::new(
            Type::Histogram,
            "meltica_eventbus_fanout_size",
            "Queues that an event of a provider went to.",
            &["provider"],
            fanouts.map(|(provider, of)| Row::distribution([provider.name().into()], of)).collect(),
        ),
        number(
            Type::Gauge,
            "meltica_eventbus_extension_bytes",
            "Size of the extension events that wait in the queues of lambdas.",
            core.subscriptions.extension_bytes() as f64,
        ),
        number(
            Type::Counter,
            "meltica_dispatcher_events",
            "Events sequenced, from providers and lambdas.",
            core.dispatcher.watermark() as f64,
        ),
        number(
            Type::Gauge,
            "meltica_dispatcher_routing_revision",
            "Version of the routing table.",
            f64::from(core.dispatcher.version()),
        ),
        number(
            Type::Gauge,
            "meltica_pool_reserved_bytes",
            "Memory reserved by running lambdas.",
            core.dispatcher.pools().reserved_bytes() as f64,
        ),
        number(
            Type::Gauge,
            "meltica_pool_limit_bytes",
            "Maximum memory that running lambdas may reserve.",
            core.dispatcher.pools().max_bytes() as f64,
        ),
    ]);
    families.extend(pool_families(core.dispatcher.pools()));
    families
}

/// The slots of pools of one type: in total, free, and how often one was missing.
fn slots<'a, T: Recycle + Send + Sync + 'a>(pools: impl Iterator<Item = &'a Pool<T>>) -> [u64; 3] {
    pools.fold([0; 3], |[capacity, free, exhausted], pool| {
        [capacity + pool.capacity() as u64, free + pool.free() as u64, exhausted + pool.exhausted()]
    })
}

fn pool_families(pools: &Pools) -> [Family; 4] {
    let books = DepthClass::ALL.iter().map(|class| pools.books(*class));
    let pools = [("event", slots([&pools.events].into_iter())), ("book", slots(books))];
    let family = |kind, name, help, value: fn([u64; 3]) -> u64| {
        let rows = pools.map(|(pool, slots)| Row::number([pool.into()], value(slots) as f64));
        Family::new(kind, name, help, &["pool_name"], rows.into())
    };
    [
        family(Type::Gauge, "meltica_pool_capacity", "Slots in total.", |[capacity, ..]| capacity),
        family(Type::Gauge, "meltica_pool_available", "Free slots.", |[_, free, _]| free),
        family(Type::Gauge, "meltica_pool_objects_active", "Slots in use.", |[capacity, free, _]| {
            capacity.saturating_sub(free)
        }),
        family(
            Type::Counter,
            "meltica_pool_exhausted",
            "Requests for a slot while the pool was exhausted.",
            |[.., exhausted]| exhausted,
        ),
    ]
}

/// Reads metrics, detached. Of the series, at most `limit` are kept; further ones are summed.
fn read(metrics: &[Py<PyMetrics>], limit: usize) -> Vec<Family> {
    let mut families: Vec<_> = metrics.iter().flat_map(|each| each.get().read()).collect();
    // These two have a series each.
    let summed = metrics::limit(&mut families, limit.saturating_sub(2));
    let series: usize = families.iter().map(Family::series).sum();
    let number = |name, help, value: usize| {
        Family::new(Type::Gauge, name, help, &[], vec![Row::number([], value as f64)])
    };
    families.push(number("meltica_metrics_series", "Series of this scrape.", series + 2));
    families.push(number("meltica_metrics_overflow_series", "Series that are summed in others.", summed));
    families
}

/// Returns the text of a scrape, in the format of Prometheus or of `OpenMetrics`, with at most `limit` series.
///
/// The series beyond the limit, first those of histograms, are summed into ones whose labels are `overflow`, except for
/// those labels whose values the program defines. Counts of the core and histograms are read, and the text is written,
/// without the interpreter.
#[pyfunction]
#[pyo3(signature = (metrics, *, limit = 20_000, openmetrics = false))]
fn metrics_text(py: Python<'_>, metrics: Vec<Py<PyMetrics>>, limit: usize, openmetrics: bool) -> String {
    py.detach(|| metrics::text(&read(&metrics, limit), openmetrics))
}

type Counted = (Vec<f64>, Vec<u64>, u64, f64);

/// The value of a row as Python reads it.
#[derive(IntoPyObject)]
enum Read {
    Number(f64),
    Distribution(Counted),
}

type Rows = Vec<(Vec<String>, Read)>;

/// Returns the families of a scrape: type, name, help, names of the labels, and rows of their values and a number, or of
/// a histogram (bounds, number of values up to each bound, number of all values, their sum).
///
/// A counter is named without `_total`. `limit` is as of `metrics_text`.
#[pyfunction]
#[pyo3(signature = (metrics, *, limit = 20_000))]
fn metrics_families(
    py: Python<'_>,
    metrics: Vec<Py<PyMetrics>>,
    limit: usize,
) -> Vec<(&'static str, String, String, Vec<String>, Rows)> {
    let texts = |all: Vec<Text>| all.into_iter().map(Text::into_owned).collect::<Vec<_>>();
    let row = |row: Row| {
        let value = match row.value {
            Value::Number(value) => Read::Number(value),
            Value::Distribution(of) => {
                Read::Distribution((of.bounds.values.clone(), of.counts, of.total, of.sum))
            }
        };
        (texts(row.labels), value)
    };
    py.detach(|| {
        let families = read(&metrics, limit).into_iter();
        let family = |of: Family| {
            let rows = of.rows.into_iter().map(row).collect();
            (of.kind.name(), of.name.into_owned(), of.help.into_owned(), texts(of.labels), rows)
        };
        families.map(family).collect()
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyMetrics>()?;
    module.add_function(wrap_pyfunction!(metrics_text, module)?)?;
    module.add_function(wrap_pyfunction!(metrics_families, module)?)
}
