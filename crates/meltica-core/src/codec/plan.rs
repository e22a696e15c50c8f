//! A checked declaration, compiled: tables of keys that lead to slots, and what to do with the slots.

use super::spec::{
    CodecSpec, Convert, FieldSpec, IdMode, LevelsSpec, Match, MessageSpec, Role, Sign, SpecError, TimeUnit,
};
use super::symbols::{Symbols, is_currency};
use super::{Codec, MessageInfo};
use crate::event::{Kind, Side};
use std::collections::HashMap;

/// Most paths of one codec: the slots that were met are bits of one word.
pub(super) const MAX_SLOTS: usize = 64;
/// Most keys of one path.
const MAX_PATH: usize = 8;

pub(super) type Slot = u8;

/// What a key leads to.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// See [`word`]; 0 in a free place.
    pub word: u64,
    /// The key, when it is longer than eight bytes.
    pub long: Box<[u8]>,
    pub slot: Slot,
    /// The node of an object's keys; 0 when none of them matters.
    pub child: u8,
    /// Whether an array here is a side of a book: `Some(true)` for asks.
    pub side: Option<bool>,
    /// Whether this is the envelope's payload.
    pub payload: bool,
}

/// The keys of one object: a hash table without collisions.
#[derive(Debug)]
pub(super) struct Node {
    factor: u64,
    shift: u32,
    table: Box<[Entry]>,
}

/// Returns up to eight bytes of a key as a number; a longer key by its ends and length.
#[inline(always)]
pub(super) fn word(key: &[u8]) -> u64 {
    match (key.first_chunk(), key.last_chunk()) {
        (Some(first), Some(last)) if key.len() > 8 => {
            let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
            first ^ last.rotate_left(29) ^ key.len() as u64
        }
        _ => key.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

impl Node {
    fn new(entries: &[Entry]) -> Self {
        let free = Entry { word: 0, long: Box::default(), slot: 0, child: 0, side: None, payload: false };
        let mut factor = 0x9E37_79B9_7F4A_7C15_u64;
        for bits in entries.len().next_power_of_two().ilog2() + 1.. {
            for _ in 0..1000 {
                factor = factor.wrapping_mul(0xD134_2543_DE82_EF95).wrapping_add(2) | 1;
                let mut node = Self { factor, shift: 64 - bits, table: vec![free.clone(); 1 << bits].into() };
                let fits = entries.iter().all(|entry| {
                    let place = node.place(entry.word);
                    let empty = node.table[place].word == 0;
                    node.table[place] = entry.clone();
                    empty
                });
                if fits {
                    return node;
                }
            }
        }
        unreachable!("Invariant: distinct words are told apart by some factor")
    }

    #[inline(always)]
    fn place(&self, word: u64) -> usize {
        (word.wrapping_mul(self.factor) >> self.shift) as usize
    }

    /// Returns what the key with this word leads to.
    #[inline(always)]
    pub fn find(&self, word: u64, key: &[u8]) -> Option<&Entry> {
        let entry = self.table.get(self.place(word))?;
        let same = entry.word == word && word != 0;
        (same && if key.len() > 8 { *entry.long == *key } else { entry.long.is_empty() }).then_some(entry)
    }
}

/// A compiled condition or conversion of one field.
#[derive(Debug)]
pub(super) struct Field {
    pub slot: Slot,
    pub required: bool,
    pub convert: Conversion,
}

#[derive(Debug)]
pub(super) enum Conversion {
    Decimal(Sign),
    Side(Vec<(Box<[u8]>, Side)>),
    Id,
    Time(TimeUnit),
    Text,
    Bool,
}

/// A compiled [`LevelsSpec`].
#[derive(Debug)]
pub(super) struct LevelsPlan {
    pub bids: Slot,
    pub asks: Slot,
    pub first: Option<Slot>,
    pub last: Option<Slot>,
    pub prev: Option<Slot>,
    pub checksum: Option<Slot>,
}

/// A compiled [`MessageSpec`].
#[derive(Debug)]
pub(super) struct Message {
    pub present: u64,
    pub absent: u64,
    pub equals: Vec<(Slot, Box<[u8]>)>,
    pub role: Role,
    pub symbol: Option<Slot>,
    pub venue_time: Option<(Slot, TimeUnit)>,
    pub id: Option<(Slot, IdMode)>,
    /// In the order of the kind's schema.
    pub fields: Vec<Option<Field>>,
    pub levels: Option<LevelsPlan>,
}

/// The fields of a kind: name, sort of conversion, whether the event needs it.
type Schema = &'static [(&'static str, &'static str, bool)];

const TRADE: Schema =
    &[("id", "id", true), ("side", "enum", false), ("price", "decimal", true), ("quantity", "decimal", true)];
const TICKER: Schema = &[
    ("last", "decimal", false),
    ("bid", "decimal", false),
    ("bid_quantity", "decimal", false),
    ("ask", "decimal", false),
    ("ask_quantity", "decimal", false),
    ("volume_24h", "decimal", false),
];
const KLINE: Schema = &[
    ("open", "decimal", true),
    ("close", "decimal", true),
    ("high", "decimal", true),
    ("low", "decimal", true),
    ("volume", "decimal", true),
    ("open_time", "time", true),
    ("close_time", "time", true),
    ("interval", "text", false),
    ("closed", "bool", false),
];

fn schema(role: Role) -> Option<Schema> {
    match role {
        Role::Event(Kind::Trade) => Some(TRADE),
        Role::Event(Kind::Ticker) => Some(TICKER),
        Role::Event(Kind::KlineSummary) => Some(KLINE),
        Role::Event(_) => None,
        Role::BookDiff | Role::BookSnapshot | Role::Control => Some(&[]),
    }
}

impl Convert {
    fn sort(&self) -> &'static str {
        match self {
            Self::Decimal(_) => "decimal",
            Self::Enum(_) => "enum",
            Self::Id => "id",
            Self::Time(_) => "time",
            Self::Text => "text",
            Self::Bool => "bool",
        }
    }
}

fn is_key(key: &str) -> bool {
    word(key.as_bytes()) != 0 && !key.bytes().any(|b| b < 0x20 || b == b'"' || b == b'\\')
}

#[derive(Debug, Default)]
struct Draft {
    key: String,
    slot: Slot,
    children: Vec<Draft>,
    side: Option<bool>,
}

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

    /// Returns the slot of a path, making it when it is new.
    fn slot(&mut self, place: &str, path: &str, side: Option<bool>) -> Slot {
        let keys: Vec<&str> = path.split('.').collect();
        if keys.len() > MAX_PATH || keys.iter().any(|key| !is_key(key)) {
            self.fault(place, format_args!("expected 1 to {MAX_PATH} keys joined by dots, seen {path:?}"));
            return 0;
        }
        let mut node = std::mem::take(&mut self.top);
        let mut draft = &mut node;
        for (i, key) in keys.iter().enumerate() {
            let at = draft.children.iter().position(|child| child.key == *key).unwrap_or_else(|| {
                if draft.children.iter().any(|child| word(child.key.as_bytes()) == word(key.as_bytes())) {
                    self.fault(
                        place,
                        format_args!("expected a key less like those beside it, seen {path:?}"),
                    );
                }
                let slot = self.new_slot(keys[..=i].join("."));
                draft.children.push(Draft { key: (*key).to_owned(), slot, ..Draft::default() });
                draft.children.len() - 1
            });
            draft = &mut draft.children[at];
        }
        if side.is_some() && draft.side.is_some_and(|other| Some(other) != side) {
            self.fault(place, format_args!("expected bids or asks at {path:?}, seen both"));
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
            let (_, sort, needed) = schema[at];
            if field.convert.sort() != sort {
                self.fault(&place, format_args!("expected conversion {sort}, seen {}", field.convert.sort()));
            }
            if fields[at].is_some() {
                self.fault(&place, "expected the field once");
            }
            let slot = self.slot(&place, &field.path, None);
            let convert = self.conversion(&place, field);
            fields[at] = Some(Field { slot, required: field.required || needed, convert });
        }
        for (field, (name, _, needed)) in fields.iter().zip(schema) {
            if *needed && field.is_none() {
                self.fault(&format!("{}.{name}", spec.name), "expected the field, seen none");
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
                        None => self.fault(place, format_args!("expected Buy or Sell, seen {name:?}")),
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
        let LevelsSpec { bids, asks, first, last, prev, checksum } = levels;
        let path = |part: &str| format!("{}.{part}", spec.name);
        if spec.role == Role::BookDiff && (last.is_none() || (first.is_none() && prev.is_none())) {
            self.fault(&path("last"), "expected a last update id and a first or previous one");
        }
        if spec.role == Role::BookDiff && spec.id.is_some() {
            self.fault(&path("id"), "expected none: a book tells repetitions by its update ids");
        }
        Some(LevelsPlan {
            bids: self.slot(&path("bids"), bids, Some(false)),
            asks: self.slot(&path("asks"), asks, Some(true)),
            first: self.optional(&path("first"), first.as_ref()),
            last: self.optional(&path("last"), last.as_ref()),
            prev: self.optional(&path("prev"), prev.as_ref()),
            checksum: self.optional(&path("checksum"), checksum.as_ref()),
        })
    }

    fn symbols(&mut self, spec: &CodecSpec) -> Symbols {
        let rule = &spec.symbols;
        let mut quotes: Vec<String> = rule.quotes.iter().map(|quote| quote.to_ascii_uppercase()).collect();
        quotes.sort_by_key(|quote| std::cmp::Reverse(quote.len()));
        let mut explicit = HashMap::new();
        for quote in quotes.iter().filter(|quote| !is_currency(quote)) {
            self.fault("symbols.quotes", format_args!("expected 2 to 10 of A-Z and 0-9, seen {quote:?}"));
        }
        for (text, canonical) in &rule.explicit {
            let segment = |part: &str| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'.')
            };
            if !(2..=6).contains(&canonical.split('-').count()) || !canonical.split('-').all(segment) {
                let text = format_args!("expected BASE-QUOTE in upper case for {text:?}, seen {canonical:?}");
                self.fault("symbols.explicit", text);
            }
            if explicit.insert(text.to_ascii_uppercase(), canonical.clone()).is_some() {
                self.fault("symbols.explicit", format_args!("expected {text:?} once"));
            }
        }
        if quotes.is_empty() && explicit.is_empty() && rule.separator.is_none() {
            self.fault("symbols", "expected quotes, a separator or explicit symbols");
        }
        Symbols { quotes, separator: rule.separator, explicit }
    }
}

/// Adds the node of a draft's children, and theirs, and returns its index.
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

/// See [`Codec::compile`].
pub(super) fn compile(spec: CodecSpec) -> Result<Codec, SpecError> {
    let mut compiler = Compiler::default();
    let symbols = compiler.symbols(&spec);
    if spec.messages.is_empty() || spec.messages.len() > usize::from(u16::MAX) {
        compiler.fault("messages", "expected at least one message");
    }
    let mut messages = Vec::new();
    for (i, message) in spec.messages.iter().enumerate() {
        if spec.messages[..i].iter().any(|other| other.name == message.name) {
            compiler.fault(&message.name, "expected the name once");
        }
        let compiled = compiler.message(message);
        let named = message.symbol.is_some()
            || matches!(message.role, Role::BookSnapshot | Role::Control)
            || spec.envelope.as_ref().is_some_and(|envelope| envelope.symbol_separator.is_some());
        if !named {
            compiler
                .fault(&format!("{}.symbol", message.name), "expected a path, or a symbol in the envelope");
        }
        messages.push(compiled);
    }
    let envelope = spec.envelope.as_ref().map(|envelope| {
        let keys = [&envelope.payload, &envelope.stream];
        for key in keys {
            let used = |child: &Draft| word(child.key.as_bytes()) == word(key.as_bytes());
            if !is_key(key) || compiler.top.children.iter().any(used) {
                compiler.fault("envelope", format_args!("expected a key that no message uses, seen {key:?}"));
            }
        }
        if word(keys[0].as_bytes()) == word(keys[1].as_bytes()) {
            compiler.fault("envelope", "expected two different keys");
        }
        keys.map(|key| (key, compiler.new_slot(key.clone())))
    });
    if compiler.paths.len() > MAX_SLOTS {
        let count = compiler.paths.len();
        compiler
            .fault("messages", format_args!("expected at most {MAX_SLOTS} different paths, seen {count}"));
    }
    // A table of keys that cannot be told apart would grow for ever.
    if !compiler.faults.is_empty() {
        return Err(SpecError { codec: spec.name, faults: compiler.faults });
    }
    // Node 0 is never a child, so that 0 can say that there is none.
    let mut nodes = vec![Node::new(&[])];
    let bare = add_node(&mut nodes, &compiler.top, &[]);
    let (mut top, mut wrapped, mut stream) = (bare, bare, None);
    if let (Some([payload, name]), Some(envelope)) = (envelope, &spec.envelope) {
        let extra = [entry(payload.0, payload.1, bare, None, true), entry(name.0, name.1, 0, None, false)];
        top = add_node(&mut nodes, &compiler.top, &extra);
        wrapped = add_node(&mut nodes, &Draft::default(), &extra);
        stream = Some((name.1, envelope.symbol_separator));
    }
    let infos = spec.messages.into_iter().map(|message| MessageInfo {
        name: message.name,
        role: message.role,
        id_mode: message.id.map(|(_, mode)| mode),
    });
    let infos = infos.collect();
    Ok(Codec {
        name: spec.name,
        infos,
        messages,
        nodes,
        top,
        wrapped,
        stream,
        symbols,
        paths: compiler.paths,
    })
}
