//! The conversion of a message into an extension: any fields, as JSON.

use super::Reader;
use crate::codec::error::{Fail, Fault};
use crate::codec::plan::{Conversion, Field, Message, TimeAt};
use crate::codec::scan::Scan;
use crate::codec::symbols::SymbolCache;
use crate::codec::{Codec, Decoded, Sink};
use crate::event::{Extension, Kind, Payload};
use std::fmt::Write as _;

impl Reader<'_> {
    /// Converts an extension: its fields, and the symbol, are the members of a JSON object.
    #[inline(never)]
    pub(super) fn extension(
        &mut self,
        codec: &Codec,
        index: u16,
        cache: &mut SymbolCache,
        sink: &mut impl Sink,
    ) -> Scan<()> {
        let message = &codec.messages[usize::from(index)];
        let symbol = self.symbol(codec, message, cache)?;
        self.fields.context.symbol = symbol;
        let (Some(symbol), Some(name)) = (symbol, &codec.infos[usize::from(index)].extension) else {
            return self.missing();
        };
        if !sink.wanted_extension(name) {
            sink.message(Ok(Decoded::Unwanted { kind: Kind::Extension, symbol }));
            return Ok(());
        }
        let venue_time = match message.venue_time {
            Some(TimeAt::Slot(slot, unit)) => self.time(slot, unit)?,
            _ => None,
        };
        let id = message.id.map(|(slot, mode)| self.id(slot, mode)).transpose()?;
        let json = self.json(message, symbol.name())?;
        match Extension::new(name, &json, 0) {
            Ok(extension) => *self.payload = Payload::Extension(Box::new(extension)),
            Err(_) => return Fail::new(Fault::TooLarge, 0),
        }
        let payload = &mut *self.payload;
        sink.message(Ok(Decoded::Event {
            message: index,
            kind: Kind::Extension,
            symbol,
            venue_time,
            id,
            met: 0,
            payload,
        }));
        Ok(())
    }

    fn json(&mut self, message: &Message, symbol: &str) -> Scan<String> {
        let mut json = String::from("{\"symbol\":");
        push_text(&mut json, symbol);
        let mut found = false;
        for (key, field) in message.keys.iter().zip(message.fields.iter().flatten()) {
            json.push(',');
            push_text(&mut json, key);
            json.push(':');
            let start = json.len();
            self.push(&mut json, field)?;
            if json.len() == start {
                json.push_str("null");
            } else {
                found = true;
            }
        }
        json.push('}');
        if found { Ok(json) } else { self.missing() }
    }

    /// Appends the value of a field; nothing if it is absent.
    fn push(&mut self, json: &mut String, field: &Field) -> Scan<()> {
        match &field.convert {
            Conversion::Decimal(_) => {
                if let Some(number) = self.decimal(Some(field))? {
                    let _ = write!(json, "\"{number}\"");
                }
            }
            Conversion::Time(unit) => match self.time(field.slot, *unit)? {
                Some(nanos) => drop(write!(json, "{nanos}")),
                None if field.required => return self.missing(),
                None => {}
            },
            Conversion::Bool => {
                if let Some(flag) = self.bool(Some(field))? {
                    let _ = write!(json, "{flag}");
                }
            }
            Conversion::Id | Conversion::Text => {
                if let Some(text) = self.field(Some(field), Fault::BadText)? {
                    let Ok(text) = str::from_utf8(&text) else { return self.bad(Fault::BadText) };
                    push_text(json, text);
                }
            }
            Conversion::Names(names) => {
                if let Some(text) = self.field(Some(field), Fault::BadEnum)? {
                    if let Some((_, name)) = names.iter().find(|(name, _)| **name == *text) {
                        push_text(json, name);
                    } else {
                        *self.unknown_enums += 1;
                        if field.required {
                            return self.bad(Fault::BadEnum);
                        }
                    }
                }
            }
            Conversion::Side(_) | Conversion::Interval(_) | Conversion::Status(_) => {
                unreachable!("Invariant: the names of an extension are texts")
            }
        }
        Ok(())
    }
}

/// Appends a JSON text.
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            c if u32::from(c) < 0x20 => drop(write!(json, "\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}
