//! Conversions between the core's values and Python's, in one place.

use crate::callback::call;
use meltica_core::decimal::Decimal;
use meltica_core::event::{Kind, Liquidity, Nanos, Side};
use meltica_core::instrument::canonical_symbol;
use meltica_core::names::{ProviderId, SymbolId};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyType};
use std::borrow::Cow;

/// Turns any displayable error into a `ValueError`.
pub fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

/// Returns the canonical form of a symbol. Another name, such as a currency, is returned as it is.
pub fn canonical(name: &str) -> Cow<'_, str> {
    canonical_symbol(name).unwrap_or(Cow::Borrowed(name))
}

/// Reads the name of an event kind.
pub fn kind(name: &str) -> PyResult<Kind> {
    Kind::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Kind::ALL.into_iter().map(Kind::name).collect();
        value_error(format!("expected an event kind ({}), saw {name:?}", names.join(", ")))
    })
}

fn decimal_type(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    static DECIMAL: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    DECIMAL.import(py, "decimal", "Decimal")
}

/// Makes a `decimal.Decimal`.
pub fn py_decimal(py: Python<'_>, value: Decimal) -> PyResult<Bound<'_, PyAny>> {
    decimal_type(py)?.call1((value.to_string(),))
}

/// Returns whether a value is a `decimal.Decimal`.
pub fn is_decimal(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    value.is_instance(decimal_type(value.py())?)
}

/// Calls a class of `meltica.model`, which is imported once.
macro_rules! model {
    ($py:expr, $module:literal, $name:literal, $parts:expr) => {{
        static CLASS: pyo3::sync::PyOnceLock<Py<pyo3::types::PyType>> = pyo3::sync::PyOnceLock::new();
        CLASS.import($py, $module, $name).and_then(|class| class.call1($parts))
    }};
}
pub(crate) use model;

/// Makes a `meltica.model.enums.Liquidity`.
pub fn py_liquidity(py: Python<'_>, liquidity: Liquidity) -> PyResult<Bound<'_, PyAny>> {
    model!(py, "meltica.model.enums", "Liquidity", (liquidity.name(),))
}

/// Makes a `meltica.model.enums.Side`.
pub fn py_side(py: Python<'_>, side: Side) -> PyResult<Bound<'_, PyAny>> {
    model!(py, "meltica.model.enums", "Side", (side.name(),))
}

/// Reads a decimal from a `Decimal`, `str`, `int` or `float`; a float by its shortest form.
pub fn decimal(value: &Bound<'_, PyAny>) -> PyResult<Decimal> {
    let text = value.str()?;
    Decimal::parse(text.to_str()?.as_bytes()).map_err(value_error)
}

/// Formats a time as RFC 3339 in UTC, with nine digits after the second.
pub fn rfc3339(time: Nanos) -> String {
    let (days, rest) = (time.div_euclid(86_400_000_000_000), time.rem_euclid(86_400_000_000_000));
    // Days since the epoch to a civil date, by Howard Hinnant's `civil_from_days`.
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (seconds, nanos) = (rest / 1_000_000_000, rest % 1_000_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Parses an RFC 3339 time in UTC (`Z` or `+00:00`) with a fraction of at most nine digits.
pub fn parse_rfc3339(text: &str) -> PyResult<Nanos> {
    let bad = || value_error(format!("expected a UTC time such as 2024-08-08T12:00:00.5Z, saw {text:?}"));
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|t| t.bytes().all(|b| b.is_ascii_digit())).ok_or_else(bad)?;
        digits.parse::<i64>().map_err(|_| bad())
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let body = text.strip_suffix('Z').or_else(|| text.strip_suffix("+00:00")).ok_or_else(bad)?;
    let fraction = match body.get(19..) {
        Some("") => 0,
        Some(rest) => {
            let digits = rest.strip_prefix('.').filter(|d| (1..=9).contains(&d.len())).ok_or_else(bad)?;
            if !digits.bytes().all(|b| b.is_ascii_digit()) {
                return Err(bad());
            }
            format!("{digits:0<9}").parse::<i64>().map_err(|_| bad())?
        }
        None => return Err(bad()),
    };
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let in_range =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !in_range || separators.iter().any(|(i, c)| text.as_bytes()[*i] != *c) {
        return Err(bad());
    }
    // A civil date to days since the epoch, by Howard Hinnant's `days_from_civil`.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(fraction)).ok_or_else(bad)
}

/// Python strings of interned names, each made once.
#[derive(Default)]
pub struct NameCache(std::sync::RwLock<Vec<Option<Py<PyString>>>>);

impl NameCache {
    fn get<'py>(
        &self,
        py: Python<'py>,
        index: usize,
        name: impl FnOnce() -> &'static str,
    ) -> Bound<'py, PyString> {
        if let Ok(names) = self.0.read()
            && let Some(Some(string)) = names.get(index)
        {
            return string.bind(py).clone();
        }
        let string = PyString::intern(py, name());
        if let Ok(mut names) = self.0.write() {
            if names.len() <= index {
                names.resize_with(index + 1, || None);
            }
            names[index] = Some(string.clone().unbind());
        }
        string
    }
}

/// Returns the Python string of a symbol.
pub fn py_symbol(py: Python<'_>, id: SymbolId) -> Bound<'_, PyString> {
    static NAMES: std::sync::LazyLock<NameCache> = std::sync::LazyLock::new(NameCache::default);
    NAMES.get(py, id.index(), || id.name())
}

/// Returns the Python string of a provider.
pub fn py_provider(py: Python<'_>, id: ProviderId) -> Bound<'_, PyString> {
    static NAMES: std::sync::LazyLock<NameCache> = std::sync::LazyLock::new(NameCache::default);
    NAMES.get(py, id.index(), || id.name())
}

/// Parses JSON with Python's own parser.
pub fn json_loads<'py>(py: Python<'py>, text: &str) -> PyResult<Bound<'py, PyAny>> {
    static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    call(LOADS.import(py, "json", "loads")?, &[&PyString::new(py, text)])
}

/// Renders JSON with Python's own encoder, compact.
pub fn json_dumps(value: &Bound<'_, PyAny>) -> PyResult<String> {
    static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = value.py();
    let encode = ENCODE.get_or_try_init(py, || {
        let options = pyo3::types::PyDict::new(py);
        options.set_item("separators", (",", ":"))?;
        options.set_item("allow_nan", false)?;
        options.set_item("ensure_ascii", false)?;
        let encoder = py.import("json")?.getattr("JSONEncoder")?.call((), Some(&options))?;
        encoder.getattr("encode").map(Bound::unbind)
    })?;
    call(encode.bind(py), &[value])?.extract()
}
