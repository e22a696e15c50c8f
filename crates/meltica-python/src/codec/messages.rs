//! The messages of one frame, for authors of codecs.

use crate::convert::json_loads;
use crate::payload;
use meltica_core::codec::{Codec, DecodeError, Decoded, Levels, Role, field_names};
use meltica_core::event::{Kind, Nanos, Payload};
use meltica_core::names::SymbolId;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The provider of the symbols of frames that are decoded without a feed.
pub const PROVIDER: &str = "codec-check";

/// Returns a dictionary of one message of a frame: its outcome, and what was read.
pub fn message<'py>(
    py: Python<'py>,
    codec: &Codec,
    decoded: Result<Decoded<'_>, DecodeError>,
) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    let of = |message: u16, outcome: &str, symbol: Option<SymbolId>| {
        out.set_item("message", codec.messages()[usize::from(message)].name.as_str())?;
        out.set_item("outcome", outcome)?;
        symbol.map_or(Ok(()), |symbol| out.set_item("symbol", symbol.name()))
    };
    match decoded {
        Ok(Decoded::Event { message, kind, symbol, venue_time, met, payload, .. }) => {
            of(message, "event", Some(symbol))?;
            let present = present(py, kind, met, payload)?
                .into_iter()
                .chain(venue_time.map(|_| "venue_time".to_owned()));
            out.set_item("present", present.collect::<Vec<_>>())?;
            let fields = payload::to_dict(py, PROVIDER, symbol.name(), venue_time, payload)?;
            out.set_item("payload", fields)?;
        }
        Ok(Decoded::BookDiff { message, symbol, venue_time, checksum, levels, .. }) => {
            of(message, "diff", Some(symbol))?;
            out.set_item("present", parts(levels, checksum, venue_time))?;
        }
        Ok(Decoded::BookSnapshot { message, symbol, venue_time, checksum, levels, .. }) => {
            of(message, "snapshot", symbol)?;
            out.set_item("present", parts(levels, checksum, venue_time))?;
        }
        Ok(Decoded::Control { message }) => of(message, "control", None)?,
        Ok(Decoded::Unwanted { .. } | Decoded::Unmatched) => out.set_item("outcome", "unmatched")?,
        Err(error) => {
            match error.message {
                Some(message) => of(message, "refused", None)?,
                None => out.set_item("outcome", "refused")?,
            }
            out.set_item("error", codec.describe(&error))?;
        }
    }
    Ok(out)
}

/// Returns the names of the fields that a payload has.
fn present(py: Python<'_>, kind: Kind, met: u16, payload: &Payload) -> PyResult<Vec<String>> {
    if let Payload::Extension(extension) = payload {
        let data: Vec<(String, Bound<'_, PyAny>)> = json_loads(py, extension.json())?
            .call_method0("items")?
            .try_iter()?
            .map(|item| item?.extract())
            .collect::<PyResult<_>>()?;
        let has = |(name, value): &(String, Bound<'_, PyAny>)| !value.is_none() && name != "symbol";
        return Ok(data.into_iter().filter(has).map(|(name, _)| name).collect());
    }
    let fields: &[(&'static str, bool)] = match payload {
        Payload::Trade(t) => {
            &[("id", t.id.is_some()), ("side", t.side.is_some()), ("price", true), ("quantity", true)]
        }
        Payload::Ticker(t) => &[
            ("last", t.last.is_some()),
            ("bid", t.bid.is_some()),
            ("bid_quantity", t.bid_quantity.is_some()),
            ("ask", t.ask.is_some()),
            ("ask_quantity", t.ask_quantity.is_some()),
            ("volume_24h", t.volume_24h.is_some()),
        ],
        Payload::Kline(k) => &[
            ("open", true),
            ("close", true),
            ("high", true),
            ("low", true),
            ("volume", true),
            ("open_time", true),
            ("close_time", true),
            ("interval", k.interval.is_some()),
            ("closed", k.closed.is_some()),
        ],
        Payload::Instrument(_) => {
            let has = |(bit, _): &(usize, &str)| met >> bit & 1 == 1;
            let names = field_names(Role::Event(kind)).enumerate();
            return Ok(names.filter(has).map(|(_, name)| name.to_owned()).collect());
        }
        _ => &[],
    };
    Ok(fields.iter().filter(|(_, is_present)| *is_present).map(|(name, _)| (*name).to_owned()).collect())
}

/// Returns the names of the parts that a book message has.
fn parts(levels: &Levels, checksum: Option<u32>, venue_time: Option<Nanos>) -> Vec<&'static str> {
    let parts = [
        ("bids", !levels.bids.is_empty()),
        ("asks", !levels.asks.is_empty()),
        ("checksum", checksum.is_some()),
        ("venue_time", venue_time.is_some()),
    ];
    parts.iter().filter(|(_, is_present)| *is_present).map(|(name, _)| *name).collect()
}
