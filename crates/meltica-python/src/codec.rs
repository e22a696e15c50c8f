//! Reads codec declarations: from Python dataclasses to the core's plain data.

mod messages;

use crate::convert::value_error;
use crate::errors::CodecError;
use meltica_core::codec::{
    ChecksumRule, ChecksumSpec, Codec, CodecSpec, Column, Convert, DecodeError, Decoded, Decoder, Depth,
    Digits, EnvelopeSpec, FieldSpec, IdMode, Layout, LevelsSpec, Match, MessageSpec, Role, RowSpec,
    SequenceSpec, Sign, SnapshotMode, SpecError, SymbolRule, TextSpec, TimeSpec, TimeUnit,
};
use meltica_core::event::Kind;
use meltica_core::names::ProviderId;
use pyo3::prelude::*;
use pyo3::types::PyList;
use std::sync::Arc;

type Any<'py> = Bound<'py, PyAny>;

fn get<'py, T>(object: &Any<'py>, name: &str) -> PyResult<T>
where
    T: for<'a> FromPyObject<'a, 'py>,
{
    let value = object.getattr(name)?;
    value.extract().map_err(|_| {
        let text = value.repr().map(|r| r.to_string()).unwrap_or_default();
        CodecError::new_err(format!("codec declaration: {name} has the wrong type: {text}"))
    })
}

fn list<'py, T>(object: &Any<'py>, name: &str, read: impl Fn(&Any<'py>) -> PyResult<T>) -> PyResult<Vec<T>> {
    object.getattr(name)?.try_iter()?.map(|item| read(&item?)).collect()
}

fn one_of<T: Copy>(what: &str, text: &str, choices: &[(&str, T)]) -> PyResult<T> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        CodecError::new_err(format!(
            "codec declaration: expected {what} to be {}, saw {text:?}",
            names.join(", ")
        ))
    })
}

fn unit(text: &str) -> PyResult<TimeUnit> {
    let units = [
        ("s", TimeUnit::Seconds),
        ("ms", TimeUnit::Millis),
        ("us", TimeUnit::Micros),
        ("ns", TimeUnit::Nanos),
        ("s.f", TimeUnit::DecimalSeconds),
        ("rfc3339", TimeUnit::Rfc3339),
    ];
    one_of("a time unit", text, &units)
}

fn convert(object: &Any<'_>) -> PyResult<Convert> {
    let kind: String = get(object, "kind")?;
    Ok(match kind.as_str() {
        "decimal" => {
            let sign: Option<String> = get(object, "sign")?;
            let signs = [
                ("positive", Sign::Positive),
                ("non_negative", Sign::NonNegative),
                ("zero_is_absent", Sign::ZeroIsAbsent),
                ("any", Sign::Any),
            ];
            Convert::Decimal(one_of("a sign", sign.as_deref().unwrap_or("any"), &signs)?)
        }
        "enum" => Convert::Enum(get(object, "names")?),
        "id" => Convert::Id,
        "time" => {
            let text: Option<String> = get(object, "unit")?;
            Convert::Time(unit(text.as_deref().unwrap_or_default())?)
        }
        "text" => Convert::Text,
        "bool" => Convert::Bool,
        _ => {
            let text = "codec declaration: expected a conversion decimal, enum, id, time, text or bool, saw";
            return Err(CodecError::new_err(format!("{text} {kind:?}")));
        }
    })
}

fn condition(object: &Any<'_>) -> PyResult<Match> {
    let op: String = get(object, "op")?;
    let at = || text_spec(&object.getattr("path")?);
    Ok(match op.as_str() {
        "equals" => Match::Equals(at()?, get::<Option<String>>(object, "value")?.unwrap_or_default()),
        "prefix" => Match::Prefix(at()?, get::<Option<String>>(object, "value")?.unwrap_or_default()),
        "one_of" => Match::OneOf(at()?, get(object, "values")?),
        "present" => Match::Present(get(object, "path")?),
        "absent" => Match::Absent(get(object, "path")?),
        "whole" => Match::Whole(get(object, "path")?),
        _ => {
            let text = "codec declaration: expected equals, prefix, one_of, present, absent or whole, saw";
            return Err(CodecError::new_err(format!("{text} {op:?}")));
        }
    })
}

/// Reads a text, or a tuple of texts.
fn texts(object: &Any<'_>, name: &str) -> PyResult<Vec<String>> {
    match object.getattr(name)?.extract::<String>() {
        Ok(text) => Ok(vec![text]),
        Err(_) => get(object, name),
    }
}

fn text_spec(object: &Any<'_>) -> PyResult<TextSpec> {
    if let Ok(path) = object.extract::<String>() {
        return Ok(TextSpec { path, part: None });
    }
    let part = (get(object, "separator")?, get(object, "index")?);
    Ok(TextSpec { path: get(object, "path")?, part: Some(part) })
}

fn time_spec(object: &Any<'_>) -> PyResult<TimeSpec> {
    if object.extract::<String>().is_ok_and(|text| text == "newest_level") {
        return Ok(TimeSpec::NewestLevel);
    }
    let (path, form): (String, String) = object.extract().map_err(|_| {
        let text = "codec declaration: expected venue_time to be (path, unit) or NEWEST_LEVEL, saw";
        CodecError::new_err(format!("{text} {object}"))
    })?;
    Ok(TimeSpec::Path(path, unit(&form)?))
}

fn column(object: &Any<'_>) -> PyResult<Column> {
    match object.extract::<u8>() {
        Ok(at) => Ok(Column::At(at)),
        Err(_) => object.extract().map(Column::Key).map_err(|_| {
            let text = "codec declaration: expected a position or a key in Row, saw";
            CodecError::new_err(format!("{text} {object}"))
        }),
    }
}

fn row(object: &Any<'_>) -> PyResult<RowSpec> {
    Ok(RowSpec {
        price: column(&object.getattr("price")?)?,
        quantity: column(&object.getattr("quantity")?)?,
        side: optional(object, "side", column)?,
        sides: pairs(object, "sides")?,
        time: optional(object, "time", |time| {
            let (at, form): (Bound<'_, PyAny>, String) = time.extract()?;
            Ok((column(&at)?, unit(&form)?))
        })?,
    })
}

fn levels(object: &Any<'_>) -> PyResult<LevelsSpec> {
    Ok(LevelsSpec {
        bids: texts(object, "bids")?,
        asks: texts(object, "asks")?,
        changes: get(object, "changes")?,
        row: row(&object.getattr("row")?)?,
        sequence: sequence(&object.getattr("sequence")?)?,
        checksum: optional(object, "checksum", checksum)?,
        depth: optional(object, "depth", depth)?,
    })
}

fn depth(object: &Any<'_>) -> PyResult<Depth> {
    if let Ok(levels) = object.extract::<u32>()
        && levels > 0
    {
        return Ok(Depth::Levels(levels));
    }
    if object.extract::<&str>().is_ok_and(|text| text == "snapshot") {
        return Ok(Depth::Snapshot(Vec::new()));
    }
    match object.extract::<Vec<u32>>() {
        Ok(sizes) if !sizes.is_empty() && !sizes.contains(&0) => Ok(Depth::Snapshot(sizes)),
        _ => {
            let text = "codec declaration: expected depth to be None, a number of levels, a tuple of them or \
                        \"snapshot\", saw";
            Err(CodecError::new_err(format!("{text} {}", object.repr()?)))
        }
    }
}

fn checksum(object: &Any<'_>) -> PyResult<ChecksumSpec> {
    let layouts = [("asks_bids", Layout::AsksBids), ("interleaved", Layout::Interleaved)];
    let digits = [("mantissa", Digits::Mantissa), ("shortest", Digits::Shortest)];
    Ok(ChecksumSpec {
        path: get(object, "path")?,
        rule: ChecksumRule {
            levels: get(object, "levels")?,
            layout: one_of("a checksum's layout", &get::<String>(object, "layout")?, &layouts)?,
            separator: get(object, "separator")?,
            digits: one_of("a checksum's digits", &get::<String>(object, "digits")?, &digits)?,
        },
        zero_is_none: get(object, "zero_is_none")?,
    })
}

fn sequence(object: &Any<'_>) -> PyResult<SequenceSpec> {
    let kind = object.get_type().name()?.to_string();
    Ok(match kind.as_str() {
        "Range" => SequenceSpec::Range {
            first: get(object, "first")?,
            last: get(object, "last")?,
            prev: get(object, "prev")?,
        },
        "Chain" => SequenceSpec::Chain { last: get(object, "last")?, prev: get(object, "prev")? },
        "Unnumbered" => SequenceSpec::Unnumbered,
        _ => {
            let text = "codec declaration: expected a sequence Range, Chain or Unnumbered, saw";
            return Err(CodecError::new_err(format!("{text} {kind}")));
        }
    })
}

fn field(object: &Any<'_>) -> PyResult<FieldSpec> {
    Ok(FieldSpec {
        name: get(object, "name")?,
        path: get(object, "path")?,
        convert: convert(&object.getattr("convert")?)?,
        required: get(object, "required")?,
    })
}

fn optional<'py, T>(
    object: &Any<'py>,
    name: &str,
    read: impl Fn(&Any<'py>) -> PyResult<T>,
) -> PyResult<Option<T>> {
    let value = object.getattr(name)?;
    if value.is_none() { Ok(None) } else { read(&value).map(Some) }
}

fn message(object: &Any<'_>) -> PyResult<MessageSpec> {
    let role: String = get(object, "role")?;
    let roles = [
        ("Trade", Role::Event(Kind::Trade)),
        ("Ticker", Role::Event(Kind::Ticker)),
        ("KlineSummary", Role::Event(Kind::KlineSummary)),
        ("InstrumentUpdate", Role::Event(Kind::InstrumentUpdate)),
        ("Extension", Role::Event(Kind::Extension)),
        ("BookDiff", Role::BookDiff),
        ("BookSnapshot", Role::BookSnapshot),
        ("Control", Role::Control),
    ];
    let id: Option<(String, String)> = get(object, "id")?;
    let snapshot: Option<String> = get(object, "snapshot")?;
    let snapshots = [
        ("joins", SnapshotMode::Joins),
        ("replaces", SnapshotMode::Replaces),
        ("window", SnapshotMode::Window),
        ("history", SnapshotMode::History),
    ];
    let modes = [("monotonic", IdMode::Monotonic), ("opaque", IdMode::Opaque)];
    Ok(MessageSpec {
        name: get(object, "name")?,
        role: one_of("a role", &role, &roles)?,
        matches: list(object, "matches", condition)?,
        each: get(object, "each")?,
        symbol: optional(object, "symbol", text_spec)?,
        venue_time: optional(object, "venue_time", time_spec)?,
        id: id.map(|(path, m)| Ok::<_, PyErr>((path, one_of("an id mode", &m, &modes)?))).transpose()?,
        fields: list(object, "fields", field)?,
        extension: get(object, "extension")?,
        levels: optional(object, "levels", levels)?,
        snapshot: snapshot.map(|text| one_of("snapshot", &text, &snapshots)).transpose()?,
        keep: get(object, "keep")?,
        also: get(object, "also")?,
        depth: get(object, "depth")?,
    })
}

fn symbol_rule(object: &Any<'_>) -> PyResult<SymbolRule> {
    Ok(SymbolRule {
        quotes: list(object, "quotes", |quote| quote.extract().map_err(value_error))?,
        separator: get(object, "separator")?,
        explicit: pairs(object, "explicit")?,
        aliases: pairs(object, "aliases")?,
        suffixes: pairs(object, "suffixes")?,
        contract: get(object, "contract")?,
        pairs_only: get(object, "pairs_only")?,
        contracts: get(object, "contracts")?,
    })
}

/// Reads a mapping of texts.
fn pairs(object: &Any<'_>, name: &str) -> PyResult<Vec<(String, String)>> {
    let items = object.getattr(name)?.call_method0("items")?;
    items.try_iter()?.map(|item| item?.extract().map_err(value_error)).collect()
}

/// Reads one rule, or a mapping of categories to rules.
fn symbols(object: &Any<'_>) -> PyResult<Vec<(String, SymbolRule)>> {
    if object.hasattr("quotes")? {
        return Ok(vec![(String::new(), symbol_rule(object)?)]);
    }
    let items = object.call_method0("items")?;
    let read = |item: Any<'_>| {
        let (category, rule): (String, Any<'_>) = item.extract()?;
        Ok((category, symbol_rule(&rule)?))
    };
    items.try_iter()?.map(|item| read(item?)).collect()
}

/// A compiled codec: decodes the frames of one venue.
///
/// `declaration` is a `meltica.adapters.codec.Codec`. Raises `CodecError`, which lists every fault.
#[pyclass(module = "meltica._core", name = "Codec", frozen, immutable_type)]
pub struct PyCodec(pub Arc<Codec>);

#[pymethods]
impl PyCodec {
    #[new]
    fn new(declaration: &Any<'_>) -> PyResult<Self> {
        let Some(check) = declaration.getattr_opt("sound")? else {
            let saw = declaration.get_type().name()?;
            return Err(CodecError::new_err(format!("codec: expected `Codec`, saw a value of type {saw}")));
        };
        let (sound, mut faults): (Any<'_>, Vec<String>) = check.call0()?.extract()?;
        if !sound.is_none() {
            match Self::compile(&sound)? {
                Ok(codec) if faults.is_empty() => return Ok(Self(codec)),
                Ok(_) => {}
                Err(error) => faults.extend(error.faults),
            }
        }
        let codec = get(declaration, "name").unwrap_or_else(|_| "of the declaration".to_owned());
        let error = SpecError { codec, faults };
        Err(CodecError::new_err(error.to_string()))
    }

    /// Name of the codec, from its declaration.
    #[getter]
    fn name(&self) -> &str {
        self.0.name()
    }

    /// Decodes one frame, without a feed: books are not assembled, and repeated messages are not removed.
    ///
    /// Returns a dictionary for each message of the frame: `outcome` is `event`, `diff`, `snapshot`, `control`,
    /// `unmatched` or `refused`. `message` is its declared name, `symbol` the canonical symbol, `present` the fields or
    /// sides that it has, `payload` that of an event, and `error` the fault of a refused one; absent keys are omitted.
    ///
    /// `connection` is the name of the connection, whose category is that with which the name begins.
    #[pyo3(signature = (frame, *, connection = ""))]
    fn decode<'py>(&self, py: Python<'py>, frame: &[u8], connection: &str) -> PyResult<Bound<'py, PyList>> {
        let found = PyList::empty(py);
        let mut failed = Ok(());
        let mut decoder = Decoder::new(Arc::clone(&self.0), ProviderId::intern(messages::PROVIDER));
        if let Some(category) = self.0.category_of(connection) {
            decoder.set_category(category);
        }
        decoder.decode(
            frame,
            &mut (
                |_, _| true,
                |decoded: Result<Decoded<'_>, DecodeError>| {
                    let described = messages::message(py, &self.0, decoded).and_then(|one| found.append(one));
                    if failed.is_ok() {
                        failed = described;
                    }
                },
            ),
        );
        failed.map(|()| found)
    }

    /// Names of the categories of connections; a single empty one if symbols mean the same on all connections.
    #[getter]
    fn categories(&self) -> Vec<&str> {
        self.0.categories().collect()
    }

    /// Returns the canonical symbol of the venue's text, or None if the rule of the category does not match it.
    ///
    /// The category is the first one by default. Raises `ValueError` for a category that the codec does not have.
    #[pyo3(signature = (text, category = None))]
    fn symbol(&self, text: &str, category: Option<&str>) -> PyResult<Option<String>> {
        Ok(self.0.canonical(self.category(category)?, text))
    }
}

impl PyCodec {
    /// Compiles a declaration whose values have the right types.
    fn compile(declaration: &Any<'_>) -> PyResult<Result<Arc<Codec>, SpecError>> {
        let spec = CodecSpec {
            name: get(declaration, "name")?,
            symbols: symbols(&declaration.getattr("symbols")?)?,
            envelope: optional(declaration, "envelope", |envelope| {
                Ok(EnvelopeSpec {
                    payload: get(envelope, "payload")?,
                    stream: get(envelope, "stream")?,
                    symbol_separator: get(envelope, "symbol_separator")?,
                })
            })?,
            messages: list(declaration, "messages", message)?,
            connection_sequence: get(declaration, "connection_sequence")?,
            max_frame: get(declaration, "max_frame")?,
            max_levels: get(declaration, "max_levels")?,
        };
        Ok(Codec::compile(spec))
    }

    /// Returns the index of a category; that of the first one for None.
    pub fn category(&self, name: Option<&str>) -> PyResult<usize> {
        let Some(name) = name else { return Ok(0) };
        self.0.category(name).ok_or_else(|| {
            let names: Vec<_> = self.0.categories().collect();
            let codec = self.0.name();
            value_error(format!(
                "expected a category of the codec {codec}, one of {}, saw {name:?}",
                names.join(", ")
            ))
        })
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCodec>()
}
