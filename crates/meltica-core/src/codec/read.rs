//! The conversion of a message: symbol, time, ids and numbers.

mod control;
mod extension;
mod instrument;

use super::error::{Fail, Fault};
use super::field_map::{FieldMap, Span, TokenKind};
use super::interval::Interval;
use super::plan::{Conversion, Field, LevelsPlan, Message, Sequence, Slot, TimeAt};
use super::scan::Scan;
use super::spec::{IdMode, Role, Sign, TimeUnit};
use super::symbols::SymbolCache;
use super::{BookIds, Codec, Decoded, Sink, number, time};
use crate::decimal::Decimal;
use crate::event::{Kind, Kline, Nanos, Payload, ShortText, Side, Ticker, Trade, VenueId};
use crate::names::SymbolId;
use std::borrow::Cow;

/// Converts the values of a frame into a message.
pub(super) struct Reader<'a> {
    pub frame: &'a [u8],
    pub fields: &'a mut FieldMap,
    pub unknown_enums: &'a mut u64,
    pub payload: &'a mut Payload,
}

impl<'a> Reader<'a> {
    #[inline(always)]
    pub fn message(
        &mut self,
        codec: &Codec,
        index: u16,
        cache: &mut SymbolCache,
        sink: &mut impl Sink,
    ) -> Scan<()> {
        let message = &codec.messages[usize::from(index)];
        let kind = match message.role {
            Role::Event(Kind::Extension) => return self.extension(codec, index, cache, sink),
            Role::Event(kind) => kind,
            Role::BookDiff | Role::BookSnapshot => Kind::BookSnapshot,
            Role::Control => {
                self.control(codec, index, cache, sink);
                return Ok(());
            }
        };
        let symbol = self.symbol(codec, message, cache)?;
        self.fields.context.symbol = symbol;
        if let Some(symbol) = symbol.filter(|symbol| !sink.wanted(kind, *symbol)) {
            sink.message(Ok(Decoded::Unwanted { kind, symbol }));
            return Ok(());
        }
        let venue_time = match message.venue_time {
            Some(TimeAt::Slot(slot, unit)) => self.time(slot, unit)?,
            Some(TimeAt::NewestLevel) => self.fields.levels.newest.filter(|time| *time != 0),
            None => None,
        };
        if let Some(plan) = &message.levels {
            let (ids, checksum) = self.book(plan)?;
            let levels = &self.fields.levels;
            sink.message(Ok(match (message.role, symbol) {
                (Role::BookDiff, Some(symbol)) => {
                    Decoded::BookDiff { message: index, symbol, venue_time, ids, checksum, levels }
                }
                _ => Decoded::BookSnapshot { message: index, symbol, venue_time, ids, checksum, levels },
            }));
            return Ok(());
        }
        let Some(symbol) = symbol else { return self.missing() };
        let id = match message.id {
            Some((slot, mode)) => Some(self.id(slot, mode)?),
            None => None,
        };
        let is_instrument = kind == Kind::InstrumentUpdate;
        if is_instrument {
            let instrument = self.instrument(&codec.venue, symbol, &message.fields)?;
            *self.payload = Payload::Instrument(Box::new(instrument));
        } else {
            self.payload(kind, message, id)?;
        }
        let met = if message.keep || is_instrument { self.met(&message.fields) } else { 0 };
        let payload = &mut *self.payload;
        sink.message(Ok(Decoded::Event { message: index, kind, symbol, venue_time, id, met, payload }));
        Ok(())
    }

    /// Converts the fields of an event, in place.
    #[inline(always)]
    fn payload(&mut self, kind: Kind, message: &Message, message_id: Option<VenueId>) -> Scan<()> {
        // The compiler of declarations orders fields as their schema does, so the patterns match.
        match (kind, &message.fields[..]) {
            (Kind::Trade, [id, side, Some(price), Some(quantity)]) => {
                let side = self.side(side.as_ref())?;
                let (price, quantity) = (self.needed(price)?, self.needed(quantity)?);
                let id = match (id, message.id) {
                    (Some(id), Some((slot, _))) if slot == id.slot => message_id,
                    (Some(id), _) => Some(self.id(id.slot, IdMode::Opaque)?),
                    (None, _) => None,
                };
                *self.payload = Payload::Trade(Trade { id, side, price, quantity, late: false });
            }
            (Kind::Ticker, [last, bid, bid_quantity, ask, ask_quantity, volume]) => {
                let (last, volume_24h) = (self.decimal(last.as_ref())?, self.decimal(volume.as_ref())?);
                let (bid, bid_quantity) = (self.decimal(bid.as_ref())?, self.decimal(bid_quantity.as_ref())?);
                let (ask, ask_quantity) = (self.decimal(ask.as_ref())?, self.decimal(ask_quantity.as_ref())?);
                let has_prices = bid.is_some() || ask.is_some() || last.is_some();
                if !has_prices && !message.keep && self.met(&message.fields) == 0 {
                    return Fail::new(Fault::NoField, self.frame.len());
                }
                *self.payload =
                    Payload::Ticker(Ticker { last, bid, bid_quantity, ask, ask_quantity, volume_24h });
            }
            (Kind::KlineSummary, fields) => *self.payload = Payload::Kline(self.kline(fields)?),
            _ => self.missing()?,
        }
        Ok(())
    }

    /// Returns which fields the message has, as bits.
    #[cold]
    fn met(&self, fields: &[Option<Field>]) -> u16 {
        let has = |field: &Option<Field>| field.as_ref().is_some_and(|f| self.fields.span(f.slot).is_some());
        fields.iter().rev().fold(0, |bits, field| bits << 1 | u16::from(has(field)))
    }

    fn kline(&mut self, fields: &[Option<Field>]) -> Scan<Kline> {
        let [Some(open), Some(close), Some(high), Some(low), Some(volume), from, to, interval, closed] =
            fields
        else {
            return self.missing();
        };
        let open_time = self.needed_time(from.as_ref())?;
        let (interval, length) = self.interval(interval.as_ref())?;
        let close_time = match to {
            Some(_) => self.needed_time(to.as_ref())?,
            None => match length.and_then(|length| length.end(open_time)) {
                Some(end) => end,
                None => return self.bad(Fault::BadEnum),
            },
        };
        Ok(Kline {
            open: self.needed(open)?,
            close: self.needed(close)?,
            high: self.needed(high)?,
            low: self.needed(low)?,
            volume: self.needed(volume)?,
            open_time,
            close_time,
            interval,
            closed: self.bool(closed.as_ref())?,
        })
    }

    #[cold]
    fn missing<T>(&self) -> Scan<T> {
        Fail::new(Fault::MissingField, self.frame.len())
    }

    #[cold]
    fn bad<T>(&self, fault: Fault) -> Scan<T> {
        let at =
            self.fields.span(self.fields.context.slot).map_or(self.frame.len(), |span| span.start as usize);
        Fail::new(fault, at)
    }

    /// Returns the text of a scalar, or `None` if it is absent.
    #[inline]
    fn text(&mut self, slot: Slot, fault: Fault) -> Scan<Option<Cow<'a, [u8]>>> {
        self.fields.context.slot = slot;
        match self.fields.text(self.frame, slot) {
            Some(None) => self.bad(fault),
            text => Ok(text.flatten()),
        }
    }

    #[inline(always)]
    fn symbol(
        &mut self,
        codec: &Codec,
        message: &Message,
        cache: &mut SymbolCache,
    ) -> Scan<Option<SymbolId>> {
        if let Some(at) = message.symbol
            && let Some(Span { start, end, token: TokenKind::Text }) = self.fields.span(at.slot)
        {
            self.fields.context.slot = at.slot;
            let (mut start, mut end) = (start as usize, end as usize);
            if at.part.is_some() {
                match at.range(self.frame.get(start..end).unwrap_or_default()) {
                    Some(range) => (start, end) = (start + range.0, start + range.1),
                    None => return self.bad(Fault::BadText),
                }
            }
            return match cache.get(&codec.symbols, self.frame, start, end) {
                Ok(symbol) => Ok(Some(symbol)),
                Err(fault) => self.bad(fault),
            };
        }
        self.rare_symbol(codec, message, cache)
    }

    /// Returns a symbol with escapes, a symbol out of the stream's name, or `None` for a snapshot without a symbol.
    fn rare_symbol(
        &mut self,
        codec: &Codec,
        message: &Message,
        cache: &mut SymbolCache,
    ) -> Scan<Option<SymbolId>> {
        let mut text = match message.symbol {
            Some(at) => match self.text(at.slot, Fault::BadText)? {
                Some(text) => match at.range(&text) {
                    Some((start, end)) => Some(Cow::Owned(text[start..end].to_vec())),
                    None => return self.bad(Fault::BadText),
                },
                None => None,
            },
            None => None,
        };
        if let (None, Some((slot, Some(separator)))) = (&text, codec.stream)
            && let Some(stream) = self.text(slot, Fault::BadText)?
        {
            let Ok(stream) = str::from_utf8(&stream) else { return self.bad(Fault::BadText) };
            let symbol = stream.split_once(separator).map_or(stream, |(symbol, _)| symbol);
            text = Some(Cow::Owned(symbol.as_bytes().to_vec()));
        }
        match text.map(|text| cache.resolve(&codec.symbols, &text)) {
            Some(Ok(symbol)) => Ok(Some(symbol)),
            Some(Err(fault)) => self.bad(fault),
            None if message.role == Role::BookSnapshot => Ok(None),
            None => self.missing(),
        }
    }

    /// Returns a whole number, or `None` if it is absent or an empty text.
    #[inline(always)]
    fn integer(&mut self, slot: Slot, fault: Fault) -> Scan<Option<u64>> {
        self.fields.context.slot = slot;
        let Some(span) = self.fields.span(slot) else { return Ok(None) };
        let text = self.frame.get(span.start as usize..span.end as usize).unwrap_or_default();
        match number::integer(text) {
            Some(number) if matches!(span.token, TokenKind::Text | TokenKind::Bare) => Ok(Some(number)),
            _ if text.is_empty() => Ok(None),
            _ => self.bad(fault),
        }
    }

    #[inline(always)]
    fn time(&mut self, slot: Slot, unit: TimeUnit) -> Scan<Option<Nanos>> {
        if matches!(unit, TimeUnit::DecimalSeconds | TimeUnit::Rfc3339) {
            return self.text_time(slot, unit);
        }
        match self.integer(slot, Fault::BadTime)? {
            None | Some(0) => Ok(None),
            Some(time) => time::whole(time, unit).map(Some).or_else(|fault| self.bad(fault)),
        }
    }

    #[inline(never)]
    fn text_time(&mut self, slot: Slot, unit: TimeUnit) -> Scan<Option<Nanos>> {
        let Some(text) = self.text(slot, Fault::BadTime)?.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match time::parse(&text, unit) {
            Ok(nanos) => Ok((nanos != 0).then_some(nanos)),
            Err(_) if text.starts_with(time::NONE) => Ok(None),
            Err(fault) => self.bad(fault),
        }
    }

    #[inline(always)]
    fn id(&mut self, slot: Slot, mode: IdMode) -> Scan<VenueId> {
        match (self.integer(slot, Fault::BadId), mode) {
            (Ok(Some(number)), _) => Ok(VenueId::Number(number)),
            (Ok(None), _) => self.missing(),
            (Err(fail), IdMode::Monotonic) => Err(fail),
            (Err(_), IdMode::Opaque) => self.text_id(slot),
        }
    }

    #[inline(never)]
    fn text_id(&mut self, slot: Slot) -> Scan<VenueId> {
        let Some(text) = self.text(slot, Fault::BadId)? else { return self.missing() };
        match str::from_utf8(&text).ok().and_then(ShortText::new) {
            Some(text) if !text.as_str().is_empty() => Ok(VenueId::Text(text)),
            _ => self.bad(Fault::BadId),
        }
    }

    fn book(&mut self, plan: &LevelsPlan) -> Scan<(BookIds, Option<u32>)> {
        let mut found = false;
        for (slot, list) in &plan.lists {
            self.fields.context.slot = *slot;
            match (self.fields.span(*slot), self.fields.fails[*list as usize]) {
                (None, _) => {}
                (_, Some(fail)) => return Err(fail),
                (Some(span), None) if span.token != TokenKind::Levels => self.bad(Fault::Syntax)?,
                _ => found = true,
            }
        }
        if !found {
            self.missing()?;
        }
        let ids = match plan.sequence {
            Sequence::Range { first, last, prev } => {
                let last = self.update_id(last)?;
                let first = first.map_or(Ok(last), |slot| self.update_id(slot))?;
                BookIds::Range { first, last, prev: prev.map(|slot| self.update_id(slot)).transpose()? }
            }
            Sequence::Chain { last, prev } => {
                let prev = prev.map(|slot| self.previous_id(slot)).transpose()?.flatten();
                BookIds::Chain { last: self.update_id(last)?, prev }
            }
            Sequence::Unnumbered => BookIds::Unnumbered,
        };
        let checksum = match plan.checksum {
            Some((slot, zero_is_none)) => self.checksum(slot)?.filter(|sum| *sum != 0 || !zero_is_none),
            None => None,
        };
        Ok((ids, checksum))
    }

    #[inline]
    fn update_id(&mut self, slot: Slot) -> Scan<u64> {
        match self.integer(slot, Fault::BadId)? {
            Some(id) => Ok(id),
            None => self.missing(),
        }
    }

    /// Returns the id before a message; `None` for a negative one, which says that there is none.
    fn previous_id(&mut self, slot: Slot) -> Scan<Option<u64>> {
        let Some(text) = self.text(slot, Fault::BadId)? else { return self.missing() };
        let (digits, negative) = text.strip_prefix(b"-").map_or((&text[..], false), |digits| (digits, true));
        match number::integer(digits) {
            Some(id) => Ok((!negative).then_some(id)),
            None => self.bad(Fault::BadId),
        }
    }

    fn checksum(&mut self, slot: Slot) -> Scan<Option<u32>> {
        let Some(text) = self.text(slot, Fault::BadNumber)?.filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let text = str::from_utf8(&text).unwrap_or_default();
        match text.parse::<u32>().or_else(|_| text.parse::<i32>().map(i32::cast_unsigned)) {
            Ok(checksum) => Ok(Some(checksum)),
            Err(_) => self.bad(Fault::BadNumber),
        }
    }

    /// Returns the text of a field, or `None` if the field is absent and optional.
    #[inline]
    fn field(&mut self, field: Option<&Field>, fault: Fault) -> Scan<Option<Cow<'a, [u8]>>> {
        let Some(field) = field else { return Ok(None) };
        match self.text(field.slot, fault)?.filter(|text| !text.is_empty()) {
            None if field.required => self.missing(),
            text => Ok(text),
        }
    }

    #[inline(always)]
    fn decimal(&mut self, field: Option<&Field>) -> Scan<Option<Decimal>> {
        let Some(field) = field else { return Ok(None) };
        self.fields.context.slot = field.slot;
        let Some(span) = self.fields.span(field.slot) else {
            return if field.required { self.missing() } else { Ok(None) };
        };
        if !matches!(span.token, TokenKind::Text | TokenKind::Bare) {
            return self.bad(Fault::BadNumber);
        }
        let Conversion::Decimal(sign) = field.convert else { return self.bad(Fault::BadNumber) };
        let Some(number) = number::decimal(self.frame, span.start as usize, span.end as usize) else {
            return match (span.start == span.end, field.required) {
                (true, false) => Ok(None),
                (true, true) => self.missing(),
                _ => self.bad(Fault::BadNumber),
            };
        };
        match (number.mantissa().signum(), sign) {
            (1, _) | (0, Sign::NonNegative) | (_, Sign::Any) => Ok(Some(number)),
            (0, Sign::ZeroIsAbsent) if field.required => self.missing(),
            (0, Sign::ZeroIsAbsent) => Ok(None),
            _ => self.bad(Fault::BadNumber),
        }
    }

    #[inline(always)]
    fn needed(&mut self, field: &Field) -> Scan<Decimal> {
        match self.decimal(Some(field))? {
            Some(number) => Ok(number),
            None => self.missing(),
        }
    }

    fn needed_time(&mut self, field: Option<&Field>) -> Scan<Nanos> {
        let Some(Field { slot, convert: Conversion::Time(unit), .. }) = field else { return self.missing() };
        match self.time(*slot, *unit)? {
            Some(time) => Ok(time),
            None => self.missing(),
        }
    }

    #[inline(always)]
    fn side(&mut self, field: Option<&Field>) -> Scan<Option<Side>> {
        let Some(Field { slot, required, convert: Conversion::Side(names) }) = field else { return Ok(None) };
        self.fields.context.slot = *slot;
        if self.fields.span(*slot).is_none() {
            return if *required { self.missing() } else { Ok(None) };
        }
        let text = self.fields.text(self.frame, *slot).flatten();
        for (name, side) in names {
            if text.as_deref() == Some(&**name) {
                return Ok(Some(*side));
            }
        }
        if text.is_some_and(|text| text.is_empty()) {
            return if *required { self.missing() } else { Ok(None) };
        }
        *self.unknown_enums += 1;
        if *required { self.bad(Fault::BadEnum) } else { Ok(None) }
    }

    fn short(&mut self, field: Option<&Field>) -> Scan<Option<ShortText>> {
        let Some(text) = self.field(field, Fault::BadText)? else { return Ok(None) };
        match str::from_utf8(&text).ok().and_then(ShortText::new) {
            Some(text) => Ok(Some(text)),
            None => self.bad(Fault::BadText),
        }
    }

    /// Returns the name of an interval and, if the declaration lists it, its length.
    fn interval(&mut self, field: Option<&Field>) -> Scan<(Option<ShortText>, Option<Interval>)> {
        let Some(Field { convert: Conversion::Interval(names), .. }) = field else {
            return Ok((self.short(field)?, None));
        };
        let Some(text) = self.field(field, Fault::BadText)? else { return Ok((None, None)) };
        let found = names.iter().find(|(name, ..)| **name == *text);
        *self.unknown_enums += u64::from(found.is_none());
        Ok(found.map_or((None, None), |(_, name, interval)| (Some(*name), Some(*interval))))
    }

    fn bool(&mut self, field: Option<&Field>) -> Scan<Option<bool>> {
        match self.field(field, Fault::BadBool)?.as_deref() {
            None => Ok(None),
            Some(b"true" | b"1") => Ok(Some(true)),
            Some(b"false" | b"0") => Ok(Some(false)),
            Some(_) => self.bad(Fault::BadBool),
        }
    }
}
