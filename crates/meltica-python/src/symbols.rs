//! The grammar of symbols, for Python: there is one implementation of it.

use meltica_core::instrument;
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Returns the canonical form of a symbol in any case, with dashes or slashes or in ccxt's notation, or None.
#[pyfunction]
#[pyo3(signature = (text, /))]
fn canonical_symbol(text: &Bound<'_, PyString>) -> Option<String> {
    instrument::canonical_symbol(text.to_str().ok()?).map(std::borrow::Cow::into_owned).ok()
}

/// Returns whether a text is a currency: 1 to 20 letters or digits.
#[pyfunction]
#[pyo3(signature = (text, /))]
fn is_currency(text: &Bound<'_, PyString>) -> bool {
    text.to_str().is_ok_and(instrument::is_currency)
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(canonical_symbol, module)?)?;
    module.add_function(wrap_pyfunction!(is_currency, module)?)
}
