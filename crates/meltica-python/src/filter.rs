//! Compiles the conditions of Python tuples to the core's filters.

use crate::convert::{self, value_error};
use meltica_core::event::Kind;
use meltica_core::filter::{Filter, Operand};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString, PyTuple};
use std::collections::HashMap;

/// Kind -> its conditions, of which all must hold.
pub type Filters = HashMap<Kind, Vec<Filter>>;

fn operand(value: &Bound<'_, PyAny>) -> PyResult<Operand> {
    if let Ok(flag) = value.cast::<PyBool>() {
        return Ok(Operand::Flag(flag.is_true()));
    }
    let plain = value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || convert::is_decimal(value)?;
    if !plain {
        let text = value.repr()?;
        return Err(value_error(format!(
            "expected text, a number, True or False to compare with, saw {text}"
        )));
    }
    Ok(Operand::Text(value.str()?.extract()?))
}

fn filter(kind: Kind, field: &str, op: &str, value: &Bound<'_, PyAny>) -> PyResult<Filter> {
    let operands = if op == "in" && !value.is_instance_of::<PyString>() {
        value.try_iter()?.map(|value| operand(&value?)).collect::<PyResult<Vec<_>>>()?
    } else {
        vec![operand(value)?]
    };
    Filter::compile(kind, field, op, operands).map_err(value_error)
}

/// Compiles `{kind: [(field, operator, value), ..]}`.
pub fn filters(declared: &Bound<'_, PyDict>) -> PyResult<Filters> {
    let mut compiled = Filters::new();
    for (name, conditions) in declared {
        let kind = convert::kind(&name.extract::<String>()?)?;
        let of_kind = compiled.entry(kind).or_default();
        for condition in conditions.try_iter()? {
            let (field, op, value): (String, String, Bound<'_, PyAny>) = condition?.extract()?;
            if of_kind.len() == Filter::MAX_CONDITIONS {
                let (kind, limit) = (kind.name(), Filter::MAX_CONDITIONS);
                return Err(value_error(format!(
                    "filters not compiled: expected at most {limit} conditions on {kind}"
                )));
            }
            of_kind.push(filter(kind, &field, &op, &value)?);
        }
    }
    Ok(compiled)
}

/// Raises `ValueError` if no event of the kind can ever match the filter.
#[pyfunction]
#[pyo3(signature = (kind, field, operator, value, /))]
fn check_filter(kind: &str, field: &str, operator: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    filter(convert::kind(kind)?, field, operator, value).map(drop)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let fields = PyDict::new(py);
    for kind in Kind::PUBLIC {
        fields.set_item(kind.name(), PyTuple::new(py, Filter::fields(*kind).collect::<Vec<_>>())?)?;
    }
    module.add("FILTER_FIELDS", fields)?;
    module.add("FILTER_LIMIT", Filter::MAX_CONDITIONS)?;
    module.add("FILTER_OPERATORS", PyTuple::new(py, Filter::OPERATORS)?)?;
    module.add_function(wrap_pyfunction!(check_filter, module)?)
}
