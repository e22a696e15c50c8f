//! The compiler of declarations: it checks a [`CodecSpec`] as a whole and collects every fault.

mod conditions;
mod extensions;
mod paths;
mod rows;
mod schema;
mod snapshots;

use super::plan::{
    Each, Group, LevelArray, LevelsPlan, List, MAX_SLOTS, Message, Place, Sequence, Slot, TextAt, TimeAt,
    word,
};
use super::spec::{
    CodecSpec, EnvelopeSpec, LevelsSpec, MessageSpec, Role, RowSpec, SequenceSpec, SpecError, TextSpec,
    TimeSpec,
};
use super::symbols::Symbols;
use super::{Codec, MAX_FRAME, MAX_LEVELS, MessageInfo};
use crate::event::Kind;
pub(super) use paths::Tables;
use paths::{Paths, Scope, check, entry, is_key};
use rows::row_plan;
pub use schema::field_names;
use schema::is_closed_by_next;
use snapshots::window;

/// The paths and faults of a declaration, collected message by message.
#[derive(Default)]
struct Compiler {
    faults: Vec<String>,
    paths: Paths,
    rows: Vec<RowSpec>,
    /// The arrays of the current message; `None` if they are at fault, so that its paths cannot be resolved.
    scope: Option<Scope>,
    /// The key and the slot of the envelope's stream, which messages can refer to.
    stream: Option<(String, Slot)>,
}

impl Compiler {
    fn fault(&mut self, place: &str, text: impl std::fmt::Display) {
        self.faults.push(format!("{place}: {text}"));
    }

    /// Returns the slot of a path of the current message.
    fn slot(&mut self, place: &str, path: &str) -> Slot {
        self.levels_slot(place, path, None)
    }

    fn levels_slot(&mut self, place: &str, path: &str, levels: Option<LevelArray>) -> Slot {
        if let (Some((key, slot)), None) = (&self.stream, levels)
            && key == path
        {
            return *slot;
        }
        let slot = match &self.scope {
            Some(scope) => self.paths.slot(scope, path, levels),
            None => check(path).map(|()| 0),
        };
        match slot {
            Ok(slot) => slot,
            Err(text) => {
                self.fault(place, text);
                0
            }
        }
    }

    fn optional(&mut self, place: &str, path: Option<&String>) -> Option<Slot> {
        path.map(|path| self.slot(place, path))
    }

    /// Returns the message and the slot of its array's elements.
    fn message(&mut self, spec: &MessageSpec) -> (Message, Option<Slot>) {
        let name = &spec.name;
        if spec.matches.is_empty() {
            self.fault(name, "expected at least one condition in matches");
        }
        let path = |part: &str| format!("{name}.{part}");
        self.scope = Some(Scope::default());
        let mut element = None;
        if let Some(each) = &spec.each {
            self.scope = Scope::new(each).map_err(|text| self.fault(&path("each"), text)).ok();
            if self.scope.is_some() {
                element = Some(self.slot(&path("each"), "@"));
            }
        }
        let (present, absent, texts) = self.conditions(spec);
        if spec.role == Role::Control {
            let parts = [
                ("symbol", spec.symbol.is_some() && spec.depth.is_none()),
                ("venue_time", spec.venue_time.is_some()),
                ("id", spec.id.is_some()),
            ];
            for (part, _) in parts.into_iter().filter(|(_, is_declared)| *is_declared) {
                self.fault(&path(part), "expected none in a control message");
            }
        }
        if spec.depth.is_some() && (spec.role != Role::Control || spec.symbol.is_none()) {
            self.fault(
                &path("depth"),
                "expected a control message with a symbol; `Levels` has the depth of a book",
            );
        }
        let venue_time = spec.venue_time.as_ref().map(|time| match time {
            TimeSpec::Path(at, unit) => TimeAt::Slot(self.slot(&path("venue_time"), at), *unit),
            TimeSpec::NewestLevel => {
                if spec.levels.as_ref().is_none_or(|levels| levels.row.time.is_none()) {
                    self.fault(&path("venue_time"), "expected a time in the row of the levels");
                }
                TimeAt::NewestLevel
            }
        });
        let message = Message {
            present,
            outer: present,
            absent,
            texts,
            outer_texts: 0,
            role: spec.role,
            symbol: spec.symbol.as_ref().map(|text| self.text_at(&path("symbol"), text)),
            venue_time,
            id: spec.id.as_ref().map(|(at, mode)| (self.slot(&path("id"), at), *mode)),
            keep: spec.keep,
            depth: self.optional(&path("depth"), spec.depth.as_ref()),
            fields: self.fields(spec),
            keys: extensions::keys(spec),
            levels: self.levels(spec),
        };
        (message, element)
    }

    fn text_at(&mut self, place: &str, text: &TextSpec) -> TextAt {
        let part = text.part.and_then(|(separator, index)| match u8::try_from(separator) {
            Ok(separator) if separator.is_ascii() => Some((separator, index)),
            _ => {
                self.fault(place, format_args!("expected an ASCII separator, saw {separator:?}"));
                None
            }
        });
        TextAt { slot: self.slot(place, &text.path), part }
    }

    fn levels(&mut self, spec: &MessageSpec) -> Option<LevelsPlan> {
        let is_book = matches!(spec.role, Role::BookDiff | Role::BookSnapshot);
        let Some(levels) = spec.levels.as_ref().filter(|_| is_book) else {
            if is_book || spec.levels.is_some() {
                let text = if is_book { "expected levels of a book message" } else { "expected no levels" };
                self.fault(&spec.name, text);
            }
            return None;
        };
        let LevelsSpec { bids, asks, changes, row, sequence, checksum, depth: _ } = levels;
        let path = |part: &str| format!("{}.{part}", spec.name);
        if spec.role == Role::BookDiff && spec.id.is_some() {
            self.fault(&path("id"), "expected none: update ids identify the repetitions of a book message");
        }
        if changes.is_some() != row.side.is_some() || changes.is_some() == (bids.len() + asks.len() > 0) {
            let text = "expected bids and asks, or changes and the side in their row";
            self.fault(&path("levels"), text);
        }
        let row = self.row(&path("row"), row);
        let mut lists = Vec::new();
        for (part, list, paths) in [
            ("bids", List::Bids, &bids[..]),
            ("asks", List::Asks, &asks[..]),
            ("changes", List::Changes, changes.as_slice()),
        ] {
            for at in paths {
                lists.push((self.levels_slot(&path(part), at, Some(LevelArray { list, row })), list));
            }
        }
        Some(LevelsPlan {
            lists,
            sequence: self.sequence(spec, sequence),
            checksum: checksum.as_ref().map(|checksum| {
                if checksum.rule.levels == 0 {
                    self.fault(&path("checksum.levels"), "expected at least one level");
                }
                (self.slot(&path("checksum"), &checksum.path), checksum.zero_is_none)
            }),
        })
    }

    fn sequence(&mut self, spec: &MessageSpec, sequence: &SequenceSpec) -> Sequence {
        let path = |part: &str| format!("{}.sequence.{part}", spec.name);
        let is_diff = spec.role == Role::BookDiff;
        match sequence {
            SequenceSpec::Range { first, last, prev } => {
                if last.is_none() {
                    self.fault(&path("last"), "expected the path of the last update id");
                }
                if is_diff && first.is_none() {
                    let text = "expected the path of the first update id, or a Chain";
                    self.fault(&path("first"), text);
                }
                Sequence::Range {
                    first: self.optional(&path("first"), first.as_ref()),
                    last: self.optional(&path("last"), last.as_ref()).unwrap_or_default(),
                    prev: self.optional(&path("prev"), prev.as_ref()),
                }
            }
            SequenceSpec::Chain { last, prev } => {
                if is_diff && prev.is_none() {
                    self.fault(&path("prev"), "expected the path of the previous message's id");
                }
                Sequence::Chain {
                    last: self.slot(&path("last"), last),
                    prev: self.optional(&path("prev"), prev.as_ref()),
                }
            }
            SequenceSpec::Unnumbered => Sequence::Unnumbered,
        }
    }

    fn symbols(&mut self, spec: &CodecSpec) -> Vec<Symbols> {
        let mut rules: Vec<Symbols> = Vec::new();
        if spec.symbols.is_empty() {
            self.fault("symbols", "expected a rule");
        }
        for (category, rule) in &spec.symbols {
            if rules.iter().any(|other| other.category == *category) {
                self.fault("symbols", format_args!("expected the category {category:?} once"));
            }
            if category.is_empty() && spec.symbols.len() > 1 {
                self.fault("symbols", "expected the name of each category");
            }
            let place = |part: &str| {
                let parts = ["symbols", category, part];
                parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
            };
            rules.push(Symbols::compile(category, rule.clone(), |part, text| self.fault(&place(part), text)));
        }
        rules
    }

    fn messages(&mut self, spec: &CodecSpec) -> Vec<(Message, Option<Slot>)> {
        if spec.messages.is_empty() || spec.messages.len() > usize::from(u16::MAX) {
            self.fault("messages", "expected at least one message");
        }
        let envelope_has_symbol =
            spec.envelope.as_ref().is_some_and(|envelope| envelope.symbol_separator.is_some());
        let mut messages = Vec::new();
        for (i, message) in spec.messages.iter().enumerate() {
            if spec.messages[..i].iter().any(|other| other.name == message.name) {
                self.fault(&message.name, "expected the name once");
            }
            let compiled = self.message(message);
            self.snapshot(message, &spec.messages);
            messages.push(compiled);
            let needs_symbol = !matches!(message.role, Role::BookSnapshot | Role::Control);
            if needs_symbol && message.symbol.is_none() && !envelope_has_symbol {
                self.fault(
                    &format!("{}.symbol", message.name),
                    "expected a path, or a symbol in the envelope",
                );
            }
        }
        messages
    }

    /// Returns the slot of the stream's name.
    fn envelope(&mut self, envelope: &EnvelopeSpec) -> Slot {
        let slot = self.paths.new_slot(envelope.stream.clone(), 0);
        self.stream = Some((envelope.stream.clone(), slot));
        slot
    }

    /// Checks the keys of the envelope, given the paths of all messages.
    fn check_envelope(&mut self, envelope: &EnvelopeSpec) {
        let keys = [&envelope.payload, &envelope.stream];
        for key in keys {
            if !is_key(key) || self.paths.has_top_key(key) {
                self.fault("envelope", format_args!("expected a key that no message uses, saw {key:?}"));
            }
        }
        if word(keys[0].as_bytes()) == word(keys[1].as_bytes()) {
            self.fault("envelope", "expected two different keys");
        }
    }
}

/// Completes the messages, given the arrays: what can be checked before the elements are read comes first. Returns the
/// group of the frame.
fn complete(specs: &[MessageSpec], messages: &mut [(Message, Option<Slot>)], eaches: &mut [Each]) -> Group {
    for index in 0..eaches.len() {
        if let Some(parent) = eaches[index].parent {
            eaches[usize::from(parent)].inner.push(index as u8);
        }
    }
    let mut whole = Group::default();
    for ((index, spec), (message, element)) in (0..).zip(specs).zip(messages) {
        let inner = eaches.iter().filter(|each| each.parent.is_none());
        inner.for_each(|each| message.outer.remove(each.below));
        let texts = std::mem::take(&mut message.texts);
        let (outer, inner): (Vec<_>, Vec<_>) =
            texts.into_iter().partition(|(slot, _)| message.outer.has(*slot));
        message.outer_texts = outer.len();
        message.texts = outer.into_iter().chain(inner).collect();
        let each = eaches.iter_mut().find(|each| Some(each.element.slot) == *element);
        let group = each.map_or(&mut whole, |each| &mut each.group);
        let list = if spec.also { &mut group.also } else { &mut group.first };
        list.push(index);
    }
    whole
}

/// Returns what the feed needs to know of the messages.
fn infos(messages: Vec<MessageSpec>) -> Vec<MessageInfo> {
    let windows: Vec<u16> = (0..messages.len()).map(|index| window(&messages, index)).collect();
    let info = |(message, window): (MessageSpec, u16)| MessageInfo {
        closed_by_next: is_closed_by_next(&message),
        extension: (message.role == Role::Event(Kind::Extension))
            .then(|| message.extension.unwrap_or_else(|| message.name.clone())),
        name: message.name,
        role: message.role,
        id_mode: message.id.map(|(_, mode)| mode),
        window,
        snapshot: message.snapshot,
        keep: message.keep,
        depth: message.levels.as_ref().and_then(|levels| levels.depth.clone()),
        checksum: message.levels.and_then(|levels| levels.checksum).map(|checksum| checksum.rule),
    };
    messages.into_iter().zip(windows).map(info).collect()
}

/// Returns the name of the venue of a codec's instruments.
fn venue(codec: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = codec.chars().map(upper).take(20).collect();
    format!("{name:_<2}")
}

/// Returns whether the events of each kind depend on earlier ones.
fn stateful(spec: &CodecSpec) -> [bool; Kind::COUNT] {
    let mut stateful = [false; Kind::COUNT];
    stateful[Kind::Ticker as usize] = spec.messages.iter().any(|message| message.keep);
    stateful[Kind::InstrumentUpdate as usize] = true;
    stateful[Kind::KlineSummary as usize] = spec.messages.iter().any(is_closed_by_next);
    stateful
}

/// Implements [`Codec::compile`].
pub(super) fn compile(spec: CodecSpec) -> Result<Codec, SpecError> {
    let mut compiler = Compiler { rows: vec![RowSpec::default()], ..Compiler::default() };
    let symbols = compiler.symbols(&spec);
    let stream =
        spec.envelope.as_ref().map(|envelope| (compiler.envelope(envelope), envelope.symbol_separator));
    let mut messages = compiler.messages(&spec);
    let texts = compiler.whole_texts(&spec);
    compiler.scope = Some(Scope::default());
    let sequence = compiler.optional("connection_sequence", spec.connection_sequence.as_ref());
    if let Some(envelope) = &spec.envelope {
        compiler.check_envelope(envelope);
    }
    let count = compiler.paths.names.len();
    if count > MAX_SLOTS {
        compiler
            .fault("messages", format_args!("expected less than {MAX_SLOTS} different paths, saw {count}"));
    }
    for (name, limit, most) in
        [("max_frame", spec.max_frame, 64 << 20), ("max_levels", spec.max_levels, 1 << 20)]
    {
        if let Some(limit) = limit.filter(|limit| !(1..=most).contains(limit)) {
            compiler.fault(name, format_args!("expected 1 to {most}, saw {limit}"));
        }
    }
    // A table of keys whose words are equal would grow without end.
    if !compiler.faults.is_empty() {
        return Err(SpecError { codec: spec.name, faults: compiler.faults });
    }
    // The payload takes the place of a bare message.
    let extra = |bare: Place| match (stream, &spec.envelope) {
        (Some((slot, _)), Some(envelope)) => vec![
            entry(&envelope.payload, bare, true),
            entry(&envelope.stream, Place { slot, ..Place::default() }, false),
        ],
        _ => Vec::new(),
    };
    let (mut tables, faults) = compiler.paths.build(extra);
    if !faults.is_empty() {
        return Err(SpecError { codec: spec.name, faults });
    }
    let stateful = stateful(&spec);
    let whole = complete(&spec.messages, &mut messages, &mut tables.eaches);
    Ok(Codec {
        venue: venue(&spec.name),
        name: spec.name,
        infos: infos(spec.messages),
        messages: messages.into_iter().map(|(message, _)| message).collect(),
        whole,
        tables,
        rows: compiler.rows.iter().map(row_plan).collect(),
        stream,
        symbols,
        sequence,
        stateful,
        max_frame: spec.max_frame.unwrap_or(MAX_FRAME),
        max_levels: spec.max_levels.unwrap_or(MAX_LEVELS),
        texts,
        paths: compiler.paths.names,
        parents: compiler.paths.parents,
    })
}
