//! Looks up what a caller names: an account, an instrument, the frames of a market.

use super::run::{Output, State};
use crate::convert::value_error;
use crate::simulator::input::refused;
use meltica_core::venue::market::{Refusal, SimulatedVenue, Wire};
use meltica_core::venue::{AccountId, InstrumentRules};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Converts a refusal to `OrderRefused`.
pub fn raise(py: Python<'_>, refusal: &Refusal) -> PyErr {
    refused(py, refusal.code(), refusal.to_string())
}

/// Returns the rules of an instrument.
pub fn rules(state: &State, pair: usize) -> InstrumentRules {
    *state.venue.market().pairs()[pair].rules()
}

/// Returns an account by its name, the first one without a name.
pub fn account(state: &State, name: Option<&str>) -> PyResult<AccountId> {
    let Some(name) = name else { return Ok(state.accounts[0].1) };
    let found = state.accounts.iter().find(|(other, _)| other == name).map(|(_, account)| *account);
    found.ok_or_else(|| value_error(format!("account: expected one of the market, saw {name:?}")))
}

/// Returns the index of an instrument.
pub fn pair(state: &State, symbol: &str) -> PyResult<usize> {
    let name = symbol.replace('/', "-");
    let found = state.venue.market().pairs().iter().position(|pair| pair.instrument().symbol == name);
    found.ok_or_else(|| value_error(format!("symbol: expected one of the market, saw {symbol:?}")))
}

/// Returns the parts of a market without a producer.
pub fn framed(state: &mut State) -> PyResult<(&SimulatedVenue, &mut Wire, &[Py<PyString>])> {
    match &mut state.output {
        Output::Frames(wire, names) => Ok((&state.venue, wire, names)),
        Output::Readers(..) => {
            Err(value_error("expected a market without a producer, saw one with a producer"))
        }
    }
}
