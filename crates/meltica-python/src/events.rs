//! Events as Python sees them: one base class with the header, one class per kind.

use crate::book::BookBody;
use crate::call::Renewable;
use crate::convert::{
    parse_rfc3339, provider, py_decimal, py_provider, py_side, py_symbol, rfc3339, symbol, value_error,
};
use crate::payload::{self, Parsed};
use meltica_core::decimal::Decimal;
use meltica_core::event::{Event, Header, Kind, Liquidity, Nanos, Payload, ShortText, TimeInForce};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping, PyString};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

/// What an event object holds.
pub enum Body {
    /// Everything but books, copied out of the slot.
    Plain(Payload),
    /// A book, still in its slot or on the heap.
    Book(BookBody),
}

/// What stands in an event object.
pub struct Content {
    pub header: Header,
    pub body: Body,
}

impl Content {
    /// Takes an event over, a book as a view of its top `depth` levels.
    #[inline]
    pub fn take(&mut self, event: &Event, depth: u32) {
        self.header = *event.header();
        // Each arm writes its own payload in place, and no more.
        match &event.payload {
            Payload::Book(book) => self.body = Body::Book(BookBody::slot(book.clone(), depth)),
            Payload::Trade(p) => self.body = Body::Plain(Payload::Trade(*p)),
            Payload::Ticker(p) => self.body = Body::Plain(Payload::Ticker(*p)),
            payload => self.body = Body::Plain(copy(payload)),
        }
    }

    /// What the content of `event` is, as [`Self::take`].
    pub fn of(event: &Event, depth: u32) -> Self {
        let mut content = Self { header: *event.header(), body: Body::Plain(Payload::Empty) };
        content.take(event, depth);
        content
    }
}

/// Base class of all events.
#[pyclass(module = "meltica", name = "Event", subclass, frozen)]
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
            Body::Plain(payload) => payload::to_dict(py, self.header(), payload),
            Body::Book(book) => {
                book.with(|levels| payload::book_to_dict(py, self.header(), levels, book.depth()))
            }
        }
    }
}

/// Copies a payload that is not a book.
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
        (Payload::Extension(a), Payload::Extension(b)) => (&a.name, &a.json) == (&b.name, &b.json),
        (Payload::BookGap(a), Payload::BookGap(b)) => a == b,
        (Payload::MarketStale(a), Payload::MarketStale(b)) => a == b,
        _ => false,
    }
}

#[pymethods]
impl PyEvent {
    #[getter]
    fn seq(&self) -> u64 {
        self.header().seq
    }

    #[getter]
    fn kind(&self) -> &'static str {
        self.header().kind.name()
    }

    #[getter]
    fn provider<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        py_provider(py, self.header().provider)
    }

    #[getter]
    fn symbol<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        py_symbol(py, self.header().symbol)
    }

    #[getter]
    fn provider_seq(&self) -> u64 {
        self.header().provider_seq
    }

    #[getter]
    fn routing_version(&self) -> u32 {
        self.header().routing_version
    }

    #[getter]
    fn venue_time(&self) -> Option<Nanos> {
        self.header().venue_time
    }

    #[getter]
    fn received_time(&self) -> Nanos {
        self.header().received_time
    }

    #[getter]
    fn dispatched_time(&self) -> Nanos {
        self.header().dispatched_time
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let h = self.header();
        let out = PyDict::new(py);
        let flat: String = h.symbol.name().chars().filter(|c| *c != '-').collect();
        out.set_item(
            "eventId",
            format!("{}:{flat}:{}:{}", h.provider.name(), h.kind.name(), h.provider_seq),
        )?;
        out.set_item("seq", h.seq)?;
        out.set_item("routingVersion", h.routing_version)?;
        out.set_item("provider", h.provider.name())?;
        out.set_item("symbol", h.symbol.name())?;
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
        let time = |key: &str| get(key)?.map(|value| parse_rfc3339(&value.extract::<String>()?)).transpose();
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
            known => known,
        };
        let header = Header {
            seq: number("seq")?,
            provider_seq: number("seqProvider")?,
            venue_time,
            received_time: time("ingestTs")?.unwrap_or(0),
            dispatched_time: time("emitTs")?.unwrap_or(0),
            dispatched_ticks: 0,
            routing_version: u32::try_from(number("routingVersion")?).map_err(value_error)?,
            provider: provider(&text("provider")?)?,
            symbol: symbol(&text("symbol")?)?,
            kind,
        };
        let body = match payload::from_dict(kind, &body)? {
            Parsed::Payload(payload) => Body::Plain(payload),
            Parsed::Book(book) => Body::Book(BookBody::heap(book)),
        };
        make(py, Content { header, body })
    }

    fn __eq__(slf: &Bound<'_, Self>, other: &Bound<'_, PyAny>) -> bool {
        let Ok(other) = other.cast::<Self>() else { return false };
        let (a, b) = (slf.get(), other.get());
        let origin = |h: &Header| (h.kind, h.provider, h.symbol, h.provider_seq, h.venue_time);
        origin(a.header()) == origin(b.header())
            && match (a.body(), b.body()) {
                (Body::Plain(a), Body::Plain(b)) => same(a, b),
                (Body::Book(a), Body::Book(b)) => a.same(b),
                _ => false,
            }
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let h = self.header();
        (h.kind, h.provider, h.symbol, h.provider_seq).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyDict>,))> {
        Ok((py.get_type::<Self>().getattr("from_dict")?, (self.to_dict(py)?,)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let h = self.header();
        let mut text = format!("{}({}@{} #{}", h.kind.name(), h.symbol.name(), h.provider.name(), h.seq);
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

/// A decimal as a float.
fn float(value: Decimal) -> f64 {
    value.to_f64()
}

macro_rules! event_class {
    (
        $class:ident, $name:literal, $variant:ident($p:ident);
        numbers { $($number:ident $exact:ident = $field:expr;)* }
        optional { $($opt:ident $opt_exact:ident = $opt_field:expr;)* }
        plain { $($plain:ident: $type:ty = $value:expr;)* }
        object { $($object:ident = |$py:ident| $made:expr;)* }
    ) => {
        #[pyclass(module = "meltica", name = $name, extends = PyEvent, frozen)]
        pub struct $class;

        #[pymethods]
        impl $class {
            $(
                #[getter]
                fn $number(slf: &Bound<'_, Self>) -> PyResult<f64> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    Ok(float($field))
                }

                #[getter]
                fn $exact<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    py_decimal(slf.py(), $field)
                }
            )*
            $(
                #[getter]
                fn $opt(slf: &Bound<'_, Self>) -> PyResult<Option<f64>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    Ok($opt_field.map(float))
                }

                #[getter]
                fn $opt_exact<'py>(slf: &Bound<'py, Self>) -> PyResult<Option<Bound<'py, PyAny>>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    $opt_field.map(|value| py_decimal(slf.py(), value)).transpose()
                }
            )*
            $(
                #[getter]
                fn $plain(slf: &Bound<'_, Self>) -> PyResult<$type> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    Ok($value)
                }
            )*
            $(
                #[getter]
                fn $object<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    let Payload::$variant($p) = slf.as_super().get().plain() else { return Err(wrong()) };
                    let $py = slf.py();
                    $made
                }
            )*
        }
    };
}

fn wrong() -> PyErr {
    value_error("Invariant: the class and the payload of an event agree")
}

fn optional<'py>(py: Python<'py>, value: Option<PyResult<Bound<'py, PyAny>>>) -> PyResult<Bound<'py, PyAny>> {
    value.unwrap_or_else(|| Ok(py.None().into_bound(py)))
}

event_class! {
    PyTrade, "Trade", Trade(t);
    numbers {
        price price_decimal = t.price;
        quantity quantity_decimal = t.quantity;
    }
    optional {}
    plain {
        trade_id: String = t.id.to_string();
    }
    object {
        side = |py| optional(py, t.side.map(|side| py_side(py, side)));
    }
}

event_class! {
    PyTicker, "Ticker", Ticker(t);
    numbers {}
    optional {
        last last_decimal = t.last;
        bid bid_decimal = t.bid;
        bid_quantity bid_quantity_decimal = t.bid_quantity;
        ask ask_decimal = t.ask;
        ask_quantity ask_quantity_decimal = t.ask_quantity;
        volume_24h volume_24h_decimal = t.volume_24h;
    }
    plain {}
    object {}
}

event_class! {
    PyKline, "KlineSummary", Kline(k);
    numbers {
        open open_decimal = k.open;
        close close_decimal = k.close;
        high high_decimal = k.high;
        low low_decimal = k.low;
        volume volume_decimal = k.volume;
    }
    optional {}
    plain {
        open_time: Nanos = k.open_time;
        close_time: Nanos = k.close_time;
        interval: Option<String> = k.interval.as_ref().map(|t: &ShortText| t.as_str().to_owned());
        closed: Option<bool> = k.closed;
    }
    object {}
}

event_class! {
    PyExecReport, "ExecReport", Exec(r);
    numbers {
        quantity quantity_decimal = r.quantity;
        filled_quantity filled_quantity_decimal = r.filled_quantity;
    }
    optional {
        price price_decimal = r.price;
        remaining_quantity remaining_quantity_decimal = r.remaining_quantity;
        average_price average_price_decimal = r.average_price;
        fee fee_decimal = r.fee;
        last_quantity last_quantity_decimal = r.last_quantity;
        last_price last_price_decimal = r.last_price;
        last_fee last_fee_decimal = r.last_fee;
    }
    plain {
        client_order_id: String = r.client_order_id.clone();
        venue_order_id: Option<String> = r.venue_order_id.clone();
        state: &'static str = r.state.name();
        order_type: String = r.order_type.clone();
        time_in_force: Option<&'static str> = r.time_in_force.map(TimeInForce::name);
        fee_currency: Option<String> = r.fee_currency.clone();
        reason: Option<String> = r.reason.clone();
        execution_id: Option<String> = r.execution_id.clone();
        liquidity: Option<&'static str> = r.liquidity.map(Liquidity::name);
        last_fee_currency: Option<String> = r.last_fee_currency.clone();
    }
    object {
        side = |py| py_side(py, r.side);
    }
}

event_class! {
    PyInstrumentUpdate, "InstrumentUpdate", Instrument(i);
    numbers {}
    optional {}
    plain {}
    object {
        instrument = |py| Ok(payload::instrument_to_dict(py, i)?.into_any());
    }
}

event_class! {
    PyBalanceUpdate, "BalanceUpdate", Balance(b);
    numbers {
        total total_decimal = b.total;
        available available_decimal = b.available;
    }
    optional {}
    plain {}
    object {}
}

event_class! {
    PyRiskControl, "RiskControl", Risk(r);
    numbers {}
    optional {}
    plain {
        strategy_id: String = r.strategy_id.clone();
        status: String = r.status.clone();
        reason: String = r.reason.clone();
        breach_type: String = r.breach_type.clone();
        metrics: std::collections::BTreeMap<String, String> = r.metrics.iter().cloned().collect();
        kill_switch_engaged: bool = r.kill_switch_engaged;
        circuit_breaker_open: bool = r.circuit_breaker_open;
    }
    object {}
}

event_class! {
    PyExtension, "Extension", Extension(e);
    numbers {}
    optional {}
    plain {
        name: String = e.name.clone();
    }
    object {
        payload = |py| crate::convert::json_loads(py, &e.json);
    }
}

event_class! {
    PyBookGap, "BookGap", BookGap(g);
    numbers {}
    optional {}
    plain {
        expected: u64 = g.expected;
        seen: u64 = g.seen;
    }
    object {}
}

event_class! {
    PyMarketStale, "MarketStale", MarketStale(reason);
    numbers {}
    optional {}
    plain {
        reason: &'static str = reason.name();
    }
    object {}
}

/// Makes an event object.
pub fn make(py: Python<'_>, content: Content) -> PyResult<Bound<'_, PyAny>> {
    let kind = content.header.kind;
    let base = PyClassInitializer::from(PyEvent(Renewable::new(content)));
    Ok(match kind {
        Kind::BookSnapshot => Bound::new(py, base.add_subclass(crate::book::PyBookSnapshot))?.into_any(),
        Kind::Trade => Bound::new(py, base.add_subclass(PyTrade))?.into_any(),
        Kind::Ticker => Bound::new(py, base.add_subclass(PyTicker))?.into_any(),
        Kind::ExecReport => Bound::new(py, base.add_subclass(PyExecReport))?.into_any(),
        Kind::KlineSummary => Bound::new(py, base.add_subclass(PyKline))?.into_any(),
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
    module.add_class::<PyKline>()?;
    module.add_class::<PyExecReport>()?;
    module.add_class::<PyInstrumentUpdate>()?;
    module.add_class::<PyBalanceUpdate>()?;
    module.add_class::<PyRiskControl>()?;
    module.add_class::<PyExtension>()?;
    module.add_class::<PyBookGap>()?;
    module.add_class::<PyMarketStale>()
}
