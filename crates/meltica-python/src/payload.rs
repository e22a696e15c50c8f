//! Payloads as dictionaries with the JSON keys of the REST API, and back.

mod read;
mod write;

use crate::convert::value_error;
use meltica_core::decimal::Decimal;
use meltica_core::event::{Book, Extension, Payload, PriceLevel};
use pyo3::prelude::*;

pub use read::from_dict;
pub use write::{book_to_dict, exec_to_dict, instrument_to_dict, to_dict};

/// A payload that was read. Books are apart, because they have slots of their own.
pub enum Parsed {
    Payload(Payload),
    Book(Book),
}

/// Returns the price of a level of `book`.
pub fn price(book: &Book, level: PriceLevel) -> Decimal {
    Decimal::new(i128::from(level.price), book.price_scale).unwrap_or(Decimal::ZERO)
}

/// Returns the quantity of a level of `book`.
pub fn quantity(book: &Book, level: PriceLevel) -> Decimal {
    Decimal::new(i128::from(level.quantity), book.quantity_scale).unwrap_or(Decimal::ZERO)
}

/// Makes an extension payload, if its name and its JSON are not too long.
pub fn extension(name: &str, json: &str, origin: u64) -> PyResult<Extension> {
    Extension::new(name, json, origin).map_err(value_error)
}
