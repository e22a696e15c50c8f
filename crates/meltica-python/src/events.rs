//! Events as Python sees them: one base class with the header, one class per kind.

mod classes;

use crate::book::BookBody;
use crate::callback::Renewable;
use crate::convert::{canonical, parse_rfc3339, py_provider, py_symbol, rfc3339, value_error};
use crate::payload::{self, Parsed};
use classes::{
    PyBalanceUpdate, PyBookGap, PyExecReport, PyExtension, PyInstrumentUpdate, PyKlineSummary, PyMarketStale,
    PyRiskControl, PyTicker, PyTrade,
};
use meltica_core::event::{Event, Header, Kind, Nanos, Payload};
use meltica_core::names::{ProviderId, SymbolId};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The docstring of `meltica._core.events`.
pub const DOC: &str = "\
Events: one base class with the header, one class per kind.

Numbers have two forms: `trade.price` is a float, `trade.price_decimal` the exact `Decimal`, and
`trade.price == float(trade.price_decimal)` always holds. Prices are in quote currency, quantities in base currency.
Times are integer nanoseconds since the Unix epoch, UTC. A field that the venue did not send is None, never 0.";

/// The docstring of `meltica._core.account`.
pub const ACCOUNT_DOC: &str = "\
Events of the account: reports on orders, balances and risk checks. These kinds are never dropped.

Numbers have two forms, as in `meltica._core.events`: `report.price` is a float, `report.price_decimal` the exact
`Decimal`.";

/// The payload of an event object.
pub enum Body {
    /// Everything but books, copied out of the slot.
    Plain(Payload),
    /// A book, still in its slot or on the heap.
    Book(BookBody),
}

/// The names of an event that Python made. They are not interned, so no number of such events uses up ids.
pub struct Names {
    provider: String,
    symbol: String,
}

/// The value of an event object.
pub struct Content {
    pub header: Header,
    /// The names, if Python made the event; the ids of the header are empty then.
    names: Option<Box<Names>>,
    pub body: Body,
}

impl Content {
    /// Copies an event; a book becomes a view of its top `depth` levels.
    // Left to the compiler, the call costs each delivery as much as a tenth of the copy.
    #[inline(always)]
    pub fn take(&mut self, event: &Event, depth: u32) {
        self.header = *event.header();
        // An object is used for one kind, so a frequent payload is written over the previous one of its kind, which is
        // cheaper than to drop that one and to copy the whole enum.
        match (&event.payload, &mut self.body) {
            (Payload::Book(book), body) => *body = Body::Book(BookBody::slot(book.clone(), depth)),
            (Payload::Trade(p), Body::Plain(Payload::Trade(own))) => *own = *p,
            (Payload::Ticker(p), Body::Plain(Payload::Ticker(own))) => *own = *p,
            (payload, body) => *body = Body::Plain(copy(payload)),
        }
    }

    /// Returns the content of `event`, as [`Self::take`] does.
    pub fn of(event: &Event, depth: u32) -> Self {
        let mut content = Self::new(*event.header(), Body::Plain(Payload::Empty));
        content.take(event, depth);
        content
    }

    /// Returns a content whose names are those of its header.
    pub fn new(header: Header, body: Body) -> Self {
        Self { header, names: None, body }
    }

    fn provider(&self) -> &str {
        self.names.as_ref().map_or_else(|| self.header.provider.name(), |names| &names.provider)
    }

    fn symbol(&self) -> &str {
        match (&self.names, &self.body) {
            (Some(names), _) => &names.symbol,
            (None, Body::Plain(Payload::Extension(extension))) => extension.name(),
            (None, _) => self.header.symbol.name(),
        }
    }
}

/// Base class of all events: what happened, where and when.
///
/// Events are immutable, stay valid when kept, and can be pickled. Times are in ns since 1970-01-01 UTC. Two events are
/// equal if their kind, origin, times and payload are equal; `received_time` and `dispatched_time` are not compared.
///
/// The runtime makes the events. A test makes them with `meltica.testing.event(kind, symbol, at=seconds, **values)`.
#[pyclass(module = "meltica", name = "Event", subclass, frozen, immutable_type)]
pub struct PyEvent(Renewable<Content>);

impl PyEvent {
    pub fn content(&self) -> &Renewable<Content> {
        &self.0
    }

    fn header(&self) -> &Header {
        &self.0.get().header
    }

    pub fn body(&self) -> &Body {
        &self.0.get().body
    }

    fn plain(&self) -> &Payload {
        match self.body() {
            Body::Plain(payload) => payload,
            Body::Book(_) => &Payload::Empty,
        }
    }

    fn payload_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match self.body() {
            Body::Plain(payload) => {
                let content = self.0.get();
                let (provider, symbol) = (content.provider(), content.symbol());
                payload::to_dict(py, provider, symbol, self.header().venue_time, payload)
            }
            Body::Book(book) => {
                let levels = book.with(Clone::clone);
                payload::book_to_dict(py, self.header().venue_time, &levels, book.depth())
            }
        }
    }
}

/// Copies a payload other than a book.
fn copy(payload: &Payload) -> Payload {
    match payload {
        Payload::Empty | Payload::Book(_) => Payload::Empty,
        Payload::Trade(p) => Payload::Trade(*p),
        Payload::Ticker(p) => Payload::Ticker(*p),
        Payload::Kline(p) => Payload::Kline(*p),
        Payload::Exec(p) => Payload::Exec(p.clone()),
        Payload::Instrument(p) => Payload::Instrument(p.clone()),
        Payload::Balance(p) => Payload::Balance(p.clone()),
        Payload::Risk(p) => Payload::Risk(p.clone()),
        Payload::Extension(p) => Payload::Extension(p.clone()),
        Payload::BookGap(p) => Payload::BookGap(*p),
        Payload::MarketStale(p) => Payload::MarketStale(*p),
    }
}

fn same(a: &Payload, b: &Payload) -> bool {
    match (a, b) {
        (Payload::Trade(a), Payload::Trade(b)) => a == b,
        (Payload::Ticker(a), Payload::Ticker(b)) => a == b,
        (Payload::Kline(a), Payload::Kline(b)) => a == b,
        (Payload::Exec(a), Payload::Exec(b)) => a == b,
        (Payload::Instrument(a), Payload::Instrument(b)) => a == b,
        (Payload::Balance(a), Payload::Balance(b)) => a == b,
        (Payload::Risk(a), Payload::Risk(b)) => a == b,
        (Payload::Extension(a), Payload::Extension(b)) => (a.name(), a.json()) == (b.name(), b.json()),
        (Payload::BookGap(a), Payload::BookGap(b)) => a == b,
        (Payload::MarketStale(a), Payload::MarketStale(b)) => a == b,
        _ => false,
    }
}

#[pymethods]
impl PyEvent {
    /// int: Global sequence number, from 1. An instance receives ascending numbers.
    #[getter]
    fn seq(&self) -> u64 {
        self.header().seq
    }

    /// str: The kind's name, such as `Trade`: also the name of the event's class.
    #[getter]
    fn kind(&self) -> &'static str {
        self.header().kind.name()
    }

    /// str: Name of the provider that sent the event; `meltica` for what lambdas emit.
    #[getter]
    fn provider<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let content = self.0.get();
        match &content.names {
            Some(names) => PyString::new(py, &names.provider),
            None => py_provider(py, content.header.provider),
        }
    }

    /// str: Instrument such as `BTC-USDT`; the currency of a `BalanceUpdate`, the name of an `Extension`.
    #[getter]
    fn symbol<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        let content = self.0.get();
        if content.names.is_some() || content.header.kind == Kind::Extension {
            return PyString::new(py, content.symbol());
        }
        py_symbol(py, content.header.symbol)
    }

    /// int: Sequence number per provider, kind and symbol, from 1; it goes on when the provider restarts.
    #[getter]
    fn provider_seq(&self) -> u64 {
        self.header().provider_seq
    }

    /// int: Version of the routing table when the event was dispatched.
    #[getter]
    fn routing_version(&self) -> u32 {
        self.header().routing_version
    }

    /// int | None: When the event happened by the venue's clock, in ns since 1970-01-01 UTC; None if not sent.
    #[getter]
    fn venue_time(&self) -> Option<Nanos> {
        self.header().venue_time
    }

    /// int: When the bytes arrived by the local clock, in ns since 1970-01-01 UTC; the recorded time in a replay.
    #[getter]
    fn received_time(&self) -> Nanos {
        self.header().received_time
    }

    /// int: When the event was numbered and routed by the local clock, in ns since 1970-01-01 UTC.
    #[getter]
    fn dispatched_time(&self) -> Nanos {
        self.header().dispatched_time
    }

    /// Returns JSON-able data: camelCase keys, decimals as strings, times as RFC 3339; absent fields have no key.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (h, provider, symbol) = (self.header(), self.0.get().provider(), self.0.get().symbol());
        let out = PyDict::new(py);
        let flat: String = symbol.chars().filter(|c| *c != '-').collect();
        out.set_item("eventId", format!("{provider}:{flat}:{}:{}", h.kind.name(), h.provider_seq))?;
        out.set_item("seq", h.seq)?;
        out.set_item("routingVersion", h.routing_version)?;
        out.set_item("provider", provider)?;
        out.set_item("symbol", symbol)?;
        out.set_item("type", h.kind.name())?;
        out.set_item("seqProvider", h.provider_seq)?;
        if let Some(time) = h.venue_time {
            out.set_item("venueTs", rfc3339(time))?;
        }
        out.set_item("ingestTs", rfc3339(h.received_time))?;
        out.set_item("emitTs", rfc3339(h.dispatched_time))?;
        out.set_item("payload", self.payload_dict(py)?)?;
        Ok(out)
    }

    /// Returns the event that `to_dict` described. Raises `ValueError` naming a missing or wrong key.
    #[staticmethod]
    fn from_dict<'py>(py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if data.cast::<PyMapping>().is_err() {
            return Err(value_error("event: expected a mapping of keys to values"));
        }
        let get = |key: &str| -> PyResult<Option<Bound<'py, PyAny>>> {
            let value = data.call_method1("get", (key,))?;
            Ok((!value.is_none()).then_some(value))
        };
        let text = |key: &str| -> PyResult<String> {
            let value = get(key)?.ok_or_else(|| value_error(format!("event: expected the key {key:?}")))?;
            value.extract().map_err(|_| value_error(format!("event: expected {key:?} to be text")))
        };
        let number = |key: &str| get(key)?.map_or(Ok(0), |value| value.extract::<u64>());
        let time = |key: &str| match get(key)? {
            Some(_) => parse_rfc3339(&text(key)?).map(Some),
            None => Ok(None),
        };
        let kind = text("type")?;
        let kind = Kind::from_name(&kind).ok_or_else(|| {
            value_error(format!("event: expected \"type\" to be an event kind, saw {kind:?}"))
        })?;
        let body = get("payload")?.ok_or_else(|| value_error("event: expected the key \"payload\""))?;
        if body.cast::<PyMapping>().is_err() {
            return Err(value_error("event: expected \"payload\" to be a mapping of keys to values"));
        }
        let stamp = body.call_method1("get", ("timestamp",))?;
        let venue_time = match time("venueTs")? {
            None if !stamp.is_none() => Some(parse_rfc3339(&stamp.extract::<String>()?)?),
            time => time,
        };
        let header = Header {
            seq: number("seq")?,
            provider_seq: number("seqProvider")?,
            venue_time,
            received_time: time("ingestTs")?.unwrap_or(0),
            dispatched_time: time("emitTs")?.unwrap_or(0),
            dispatched_ticks: 0,
            routing_version: u32::try_from(number("routingVersion")?).map_err(value_error)?,
            provider: ProviderId::EMPTY,
            symbol: SymbolId::EMPTY,
            kind,
        };
        let body = match payload::from_dict(kind, &body)? {
            Parsed::Payload(payload) => Body::Plain(payload),
            Parsed::Book(book) => Body::Book(BookBody::heap(book)),
        };
        let symbol = text("symbol")?;
        let symbol = if kind == Kind::Extension { symbol } else { canonical(&symbol).into_owned() };
        let names = Names { provider: text("provider")?, symbol };
        make(py, Content { header, names: Some(Box::new(names)), body })
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> bool {
        let Ok(other) = other.cast::<Self>() else { return false };
        let (a, b) = (slf.get(), other.get());
        let numbers = |h: &Header| (h.kind, h.provider_seq, h.venue_time);
        let (ours, theirs) = (a.0.get(), b.0.get());
        numbers(a.header()) == numbers(b.header())
            && (ours.provider(), ours.symbol()) == (theirs.provider(), theirs.symbol())
            && match (a.body(), b.body()) {
                (Body::Plain(a), Body::Plain(b)) => same(a, b),
                (Body::Book(a), Body::Book(b)) => a.same(b),
                _ => false,
            }
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let content = self.0.get();
        let h = &content.header;
        (h.kind, content.provider(), content.symbol(), h.provider_seq).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((py.get_type::<Self>().getattr("from_dict")?, (self.to_dict(py)?,)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let (h, content) = (self.header(), self.0.get());
        let (provider, symbol) = (content.provider(), content.symbol());
        let mut text = format!("{}({symbol}@{provider} #{}", h.kind.name(), h.seq);
        if let Body::Book(book) = self.body() {
            text.push_str(&book.describe());
        } else {
            for (key, value) in self.payload_dict(py)? {
                let key: String = key.extract()?;
                if key != "timestamp" {
                    let _ = write!(text, " {key}={}", value.str()?);
                }
            }
        }
        text.push(')');
        Ok(text)
    }
}

/// Makes the event object of a content.
pub fn make(py: Python<'_>, content: Content) -> PyResult<Bound<'_, PyAny>> {
    let kind = content.header.kind;
    let base = PyClassInitializer::from(PyEvent(Renewable::new(content)));
    Ok(match kind {
        Kind::BookSnapshot => Bound::new(py, base.add_subclass(crate::book::PyBookSnapshot))?.into_any(),
        Kind::Trade => Bound::new(py, base.add_subclass(PyTrade))?.into_any(),
        Kind::Ticker => Bound::new(py, base.add_subclass(PyTicker))?.into_any(),
        Kind::ExecReport => Bound::new(py, base.add_subclass(PyExecReport))?.into_any(),
        Kind::KlineSummary => Bound::new(py, base.add_subclass(PyKlineSummary))?.into_any(),
        Kind::InstrumentUpdate => Bound::new(py, base.add_subclass(PyInstrumentUpdate))?.into_any(),
        Kind::BalanceUpdate => Bound::new(py, base.add_subclass(PyBalanceUpdate))?.into_any(),
        Kind::RiskControl => Bound::new(py, base.add_subclass(PyRiskControl))?.into_any(),
        Kind::Extension => Bound::new(py, base.add_subclass(PyExtension))?.into_any(),
        Kind::BookGap => Bound::new(py, base.add_subclass(PyBookGap))?.into_any(),
        Kind::MarketStale => Bound::new(py, base.add_subclass(PyMarketStale))?.into_any(),
    })
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyEvent>()?;
    module.add_class::<PyTrade>()?;
    module.add_class::<PyTicker>()?;
    module.add_class::<PyKlineSummary>()?;
    module.add_class::<PyInstrumentUpdate>()?;
    module.add_class::<PyExtension>()?;
    module.add_class::<PyBookGap>()?;
    module.add_class::<PyMarketStale>()
}

/// Registers the kinds of the account, which are never dropped.
pub fn register_account(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyExecReport>()?;
    module.add_class::<PyBalanceUpdate>()?;
    module.add_class::<PyRiskControl>()
}
