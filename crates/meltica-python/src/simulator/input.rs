//! Converts Python arguments to the core's values.

use crate::convert::{decimal, value_error};
use meltica_core::decimal::Decimal;
use meltica_core::event::Side;
use meltica_core::venue::{InstrumentRules, OrderKind, SelfTrade, TimeInForce};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyFloat, PyType};

/// An order id of the caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Id {
    Text(String),
    Number(i128),
}

impl Id {
    pub fn new(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(text) = value.extract() {
            return Ok(Self::Text(text));
        }
        value.extract().map(Self::Number).map_err(|_| {
            let kind = value.get_type();
            PyTypeError::new_err(format!("order_id: expected str, or int of at most 128 bits, saw {kind}"))
        })
    }

    pub fn to_py<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Text(text) => Ok(text.into_pyobject(py)?.into_any()),
            Self::Number(number) => Ok(number.into_pyobject(py)?.into_any()),
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{}'", text.escape_debug()),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// Makes a `meltica.errors.OrderRefused`.
pub fn refused(py: Python<'_>, reason: &str, message: String) -> PyErr {
    static REFUSED: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let error =
        REFUSED.import(py, "meltica.errors", "OrderRefused").and_then(|kind| kind.call1((reason, message)));
    error.map_or_else(|error| error, PyErr::from_value)
}

/// Makes a `meltica.errors.ConfigError` of the matching engine that lists every fault.
pub fn config_error(py: Python<'_>, faults: Vec<String>) -> PyErr {
    config_error_of(py, "MatchingEngine", faults)
}

/// Makes a `meltica.errors.ConfigError` that lists every fault of `what`.
pub fn config_error_of(py: Python<'_>, what: &str, faults: Vec<String>) -> PyErr {
    static CONFIG: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let error = CONFIG.import(py, "meltica.errors", "ConfigError");
    let error = error.and_then(|kind| kind.call1((what, faults)));
    error.map_or_else(|error| error, PyErr::from_value)
}

/// Parses a name, ignoring case.
pub fn named<T: Copy>(what: &str, name: &str, values: &[(&str, T)]) -> PyResult<T> {
    let found = values.iter().find(|(other, _)| name.eq_ignore_ascii_case(other));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
        value_error(format!("{what}: expected one of {}, saw {name:?}", names.join(", ")))
    })
}

pub fn side(name: &str) -> PyResult<Side> {
    named("side", name, &[("buy", Side::Buy), ("sell", Side::Sell)])
}

pub fn self_trade(name: &str) -> PyResult<SelfTrade> {
    let policies = [
        ("allow", SelfTrade::Allow),
        ("expire_taker", SelfTrade::ExpireTaker),
        ("expire_maker", SelfTrade::ExpireMaker),
        ("expire_both", SelfTrade::ExpireBoth),
    ];
    named("self_trade", name, &policies)
}

/// Returns how an order trades, or `None` when the arguments contradict each other.
///
/// A sell with the price 0 is a market order, as some exchanges write it.
pub fn kind(
    side: Side,
    price: Option<i64>,
    time_in_force: &str,
    post_only: bool,
) -> PyResult<Option<OrderKind>> {
    use TimeInForce::{Fok, Gtc, Ioc};
    let time_in_force = named("time_in_force", time_in_force, &[("GTC", Gtc), ("IOC", Ioc), ("FOK", Fok)])?;
    let price = price.filter(|price| *price != 0 || side == Side::Buy || post_only);
    Ok(match (price, post_only) {
        (None, false) => Some(OrderKind::Market { fok: time_in_force == Fok }),
        (Some(price), false) => Some(OrderKind::Limit { price, time_in_force }),
        (Some(price), true) if time_in_force == Gtc => Some(OrderKind::PostOnly { price }),
        _ => None,
    })
}

/// Parses prices or quantities: the argument's name, refusal codes, scale and increment.
pub struct Measure {
    name: &'static str,
    invalid: &'static str,
    between: &'static str,
    scale: u8,
    increment: Decimal,
}

impl Measure {
    pub fn price(rules: &InstrumentRules) -> Self {
        let increment = rules.price(rules.tick_size);
        Self {
            name: "price",
            invalid: "invalid_price",
            between: "tick_size",
            scale: rules.price_scale,
            increment,
        }
    }

    pub fn quantity(rules: &InstrumentRules) -> Self {
        let (scale, increment) = (rules.quantity_scale, rules.quantity(rules.lot_size));
        Self { name: "quantity", invalid: "invalid_quantity", between: "lot_size", scale, increment }
    }

    /// Returns the mantissa on the scale. The shortest form of a float is rounded to the increment, `up` or down; a
    /// relative change of more than 1e-9 is refused.
    pub fn read(&self, value: &Bound<'_, PyAny>, up: bool) -> PyResult<i64> {
        let py = value.py();
        let name = self.name;
        let exact = match decimal(value) {
            Ok(exact) => exact,
            Err(error) if error.is_instance_of::<PyValueError>(py) => {
                return Err(refused(py, self.invalid, format!("{name}: {}", error.value(py))));
            }
            Err(error) => return Err(error),
        };
        let number = if value.is_instance_of::<PyFloat>() { self.near(exact, up) } else { Some(exact) };
        let fits = |number: Decimal| Some(number.normalize().scale() <= self.scale).filter(|fits| *fits);
        let Some(number) = number.filter(|number| fits(*number).is_some()) else {
            let increment = self.increment.normalize();
            let message = format!("{name}: expected a multiple of {increment}, saw {exact}");
            return Err(refused(py, self.between, message));
        };
        let units = number.rescale(self.scale).and_then(|number| i64::try_from(number.mantissa()).ok());
        units.ok_or_else(|| {
            let (most, scale) = (Decimal::new(i128::from(i64::MAX), self.scale), self.scale);
            let most = most.map_or_else(String::new, |most| most.to_string());
            let message =
                format!("{name}: expected at most {most} ({scale} digits after the point), saw {exact}");
            refused(py, "overflow", message)
        })
    }

    fn near(&self, exact: Decimal, up: bool) -> Option<Decimal> {
        let rounded = exact.round_to_increment(self.increment, up)?;
        let change = rounded.checked_sub(exact)?.abs().checked_mul(Decimal::from_i64(1_000_000_000))?;
        (change <= exact.abs()).then_some(rounded)
    }
}
