//! The compiler of declarations: it checks a [`CodecSpec`] as a whole and collects every fault.

mod schema;

use super::plan::{Conversion, Entry, Field, LevelsPlan, MAX_SLOTS, Message, Node, Sequence, Slot, word};
use super::spec::{
    CodecSpec, Convert, EnvelopeSpec, FieldSpec, LevelsSpec, Match, MessageSpec, Role, SequenceSpec,
    SpecError,
};
use super::symbols::Symbols;
use super::{Codec, MessageInfo};
use crate::event::Side;
use schema::schema;

/// Maximum number of keys of a path.
const MAX_PATH: usize = 8;

fn is_key(key: &str) -> bool {
    word(key.as_bytes()) != 0 && !key.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\')
}

/// A key of the declared paths, with the keys below it.
#[derive(Debug, Default)]
struct Draft {
    key: String,
    slot: Slot,
    children: Vec<Draft>,
    side: Option<bool>,
}

/// The paths and faults of a declaration, collected message by message.
#[derive(Default)]
struct Compiler {
    faults: Vec<String>,
    top: Draft,
    paths: Vec<String>,
}

impl Compiler {
    fn fault(&mut self, place: &str, text: impl std::fmt::Display) {
        self.faults.push(format!("{place}: {text}"));
    }

    fn new_slot(&mut self, path: String) -> Slot {
        self.paths.push(path);
        (self.paths.len() - 1).min(MAX_SLOTS - 1) as Slot
    }

    /// Returns the slot of a path, which it adds if it is new.
    fn slot(&mut self, place: &str, path: &str, side: Option<bool>) -> Slot {
        let keys: Vec<&str> = path.split('.').collect();
        if keys.len() > MAX_PATH || keys.iter().any(|key| !is_key(key)) {
            self.fault(place, format_args!("expected 1 to {MAX_PATH} keys joined by dots, saw {path:?}"));
            return 0;
        }
        let mut node = std::mem::take(&mut self.top);
        let mut draft = &mut node;
        for (i, key) in keys.iter().enumerate() {
            let at = draft.children.iter().position(|child| child.key == *key).unwrap_or_else(|| {
                if draft.children.iter().any(|child| word(child.key.as_bytes()) == word(key.as_bytes())) {
                    self.fault(place, format_args!("expected a key less like its siblings, saw {path:?}"));
                }
                let slot = self.new_slot(keys[..=i].join("."));
                draft.children.push(Draft { key: (*key).to_owned(), slot, ..Draft::default() });
                draft.children.len() - 1
            });
            draft = &mut draft.children[at];
        }
        if side.is_some() && draft.side.is_some_and(|other| Some(other) != side) {
            self.fault(place, format_args!("expected either bids or asks at {path:?}, saw both"));
        }
        draft.side = draft.side.or(side);
        let slot = draft.slot;
        self.top = node;
        slot
    }

    fn optional(&mut self, place: &str, path: Option<&String>) -> Option<Slot> {
        path.map(|path| self.slot(place, path, None))
    }

    fn message(&mut self, spec: &MessageSpec) -> Message {
        let name = &spec.name;
        if spec.matches.is_empty() {
            self.fault(name, "expected at least one condition in matches");
        }
        let (mut present, mut absent, mut equals) = (0, 0, Vec::new());
        for condition in &spec.matches {
            let place = format!("{name}.matches");
            match condition {
                Match::Equals(path, value) => {
                    let slot = self.slot(&place, path, None);
                    present |= 1 << slot;
                    equals.push((slot, value.as_bytes().into()));
                }
                Match::Present(path) => present |= 1 << self.slot(&place, path, None),
                Match::Absent(path) => absent |= 1 << self.slot(&place, path, None),
            }
        }
        let path = |part: &str| format!("{name}.{part}");
        if spec.role == Role::Control {
            let parts = [
                ("symbol", spec.symbol.is_some()),
                ("venue_time", spec.venue_time.is_some()),
                ("id", spec.id.is_some()),
            ];
            for (part, _) in parts.into_iter().filter(|(_, is_declared)| *is_declared) {
                self.fault(&path(part), "expected none in a control message");
            }
        }
        Message {
            present,
            absent,
            equals,
            role: spec.role,
            symbol: self.optional(&path("symbol"), spec.symbol.as_ref()),
            venue_time: spec
                .venue_time
                .as_ref()
                .map(|(at, unit)| (self.slot(&path("venue_time"), at, None), *unit)),
            id: spec.id.as_ref().map(|(at, mode)| (self.slot(&path("id"), at, None), *mode)),
            fields: self.fields(spec),
            levels: self.levels(spec),
        }
    }

    fn fields(&mut self, spec: &MessageSpec) -> Vec<Option<Field>> {
        let Some(schema) = schema(spec.role) else {
            self.fault(
                &spec.name,
                format_args!("expected a Trade, Ticker or KlineSummary, saw {:?}", spec.role),
            );
            return Vec::new();
        };
        let mut fields: Vec<Option<Field>> = schema.iter().map(|_| None).collect();
        for field in &spec.fields {
            let place = format!("{}.{}", spec.name, field.name);
            let Some(at) = schema.iter().position(|(name, ..)| *name == field.name) else {
                let names: Vec<_> = schema.iter().map(|(name, ..)| *name).collect();
                self.fault(&place, format_args!("expected one of the fields {names:?}"));
                continue;
            };
            let (_, kind, required) = schema[at];
            if field.convert.kind_name() != kind {
                let saw = field.convert.kind_name();
                self.fault(&place, format_args!("expected conversion {kind}, saw {saw}"));
            }
            if fields[at].is_some() {
                self.fault(&place, "expected the field once");
            }
            let slot = self.slot(&place, &field.path, None);
            let convert = self.conversion(&place, field);
            fields[at] = Some(Field { slot, required: field.required || required, convert });
        }
        for (field, (name, _, required)) in fields.iter().zip(schema) {
            if *required && field.is_none() {
                self.fault(&format!("{}.{name}", spec.name), "expected the field, saw none");
            }
        }
        fields
    }

    fn conversion(&mut self, place: &str, field: &FieldSpec) -> Conversion {
        match &field.convert {
            Convert::Decimal(sign) => Conversion::Decimal(*sign),
            Convert::Id => Conversion::Id,
            Convert::Time(unit) => Conversion::Time(*unit),
            Convert::Text => Conversion::Text,
            Convert::Bool => Conversion::Bool,
            Convert::Enum(names) => {
                let mut sides = Vec::new();
                for (text, name) in names {
                    match Side::from_name(name) {
                        Some(side) => sides.push((text.as_bytes().into(), side)),
                        None => self.fault(place, format_args!("expected Buy or Sell, saw {name:?}")),
                    }
                }
                if names.is_empty() {
                    self.fault(place, "expected at least one name");
                }
                Conversion::Side(sides)
            }
        }
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
        let LevelsSpec { bids, asks, sequence, checksum } = levels;
        let path = |part: &str| format!("{}.{part}", spec.name);
        if spec.role == Role::BookDiff && spec.id.is_some() {
            self.fault(&path("id"), "expected none: update ids identify the repetitions of a book message");
        }
        Some(LevelsPlan {
            bids: self.slot(&path("bids"), bids, Some(false)),
            asks: self.slot(&path("asks"), asks, Some(true)),
            sequence: self.sequence(spec, sequence),
            checksum: self.optional(&path("checksum"), checksum.as_ref()),
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
                    last: self.slot(&path("last"), last, None),
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

    fn messages(&mut self, spec: &CodecSpec) -> Vec<Message> {
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
            if (message.role == Role::BookSnapshot) != message.snapshot.is_some() {
                let text = match message.snapshot {
                    None => "expected joins for a requested snapshot, or replaces for one of the stream",
                    Some(_) => "expected none, as the message is not a BookSnapshot",
                };
                self.fault(&format!("{}.snapshot", message.name), text);
            }
            let needs_symbol = !matches!(message.role, Role::BookSnapshot | Role::Control);
            if needs_symbol && message.symbol.is_none() && !envelope_has_symbol {
                self.fault(
                    &format!("{}.symbol", message.name),
                    "expected a path, or a symbol in the envelope",
                );
            }
            messages.push(compiled);
        }
        messages
    }

    /// Returns the slots of the payload and of the stream's name.
    fn envelope(&mut self, envelope: &EnvelopeSpec) -> [Slot; 2] {
        let keys = [&envelope.payload, &envelope.stream];
        for key in keys {
            let is_same = |child: &Draft| word(child.key.as_bytes()) == word(key.as_bytes());
            if !is_key(key) || self.top.children.iter().any(is_same) {
                self.fault("envelope", format_args!("expected a key that no message uses, saw {key:?}"));
            }
        }
        if word(keys[0].as_bytes()) == word(keys[1].as_bytes()) {
            self.fault("envelope", "expected two different keys");
        }
        keys.map(|key| self.new_slot(key.clone()))
    }
}

/// Adds the nodes of a draft's children, recursively, and returns the index of the draft's node.
fn add_node(nodes: &mut Vec<Node>, draft: &Draft, extra: &[Entry]) -> u8 {
    let mut entries: Vec<Entry> = extra.to_vec();
    for child in &draft.children {
        let index = if child.children.is_empty() { 0 } else { add_node(nodes, child, &[]) };
        entries.push(entry(&child.key, child.slot, index, child.side, false));
    }
    nodes.push(Node::new(&entries));
    (nodes.len() - 1) as u8
}

fn entry(key: &str, slot: Slot, child: u8, side: Option<bool>, payload: bool) -> Entry {
    let long = if key.len() > 8 { key.as_bytes().into() } else { Box::default() };
    Entry { word: word(key.as_bytes()), long, slot, child, side, payload }
}

/// Implements [`Codec::compile`].
pub(super) fn compile(spec: CodecSpec) -> Result<Codec, SpecError> {
    let mut compiler = Compiler::default();
    let symbols = compiler.symbols(&spec);
    let messages = compiler.messages(&spec);
    let envelope = spec.envelope.as_ref().map(|envelope| compiler.envelope(envelope));
    if compiler.paths.len() > MAX_SLOTS {
        let count = compiler.paths.len();
        compiler.fault("messages", format_args!("expected at most {MAX_SLOTS} different paths, saw {count}"));
    }
    // A table of keys whose words are equal would grow without end.
    if !compiler.faults.is_empty() {
        return Err(SpecError { codec: spec.name, faults: compiler.faults });
    }
    // Node 0 is never a child, so an entry without a child holds 0.
    let mut nodes = vec![Node::new(&[])];
    let bare = add_node(&mut nodes, &compiler.top, &[]);
    let (mut top, mut wrapped, mut stream) = (bare, bare, None);
    if let (Some([payload, name]), Some(envelope)) = (envelope, &spec.envelope) {
        let extra = [
            entry(&envelope.payload, payload, bare, None, true),
            entry(&envelope.stream, name, 0, None, false),
        ];
        top = add_node(&mut nodes, &compiler.top, &extra);
        wrapped = add_node(&mut nodes, &Draft::default(), &extra);
        stream = Some((name, envelope.symbol_separator));
    }
    let infos = spec.messages.into_iter().map(|message| MessageInfo {
        name: message.name,
        role: message.role,
        id_mode: message.id.map(|(_, mode)| mode),
        snapshot: message.snapshot,
    });
    let (infos, paths) = (infos.collect(), compiler.paths);
    Ok(Codec { name: spec.name, infos, messages, nodes, top, wrapped, stream, symbols, paths })
}
