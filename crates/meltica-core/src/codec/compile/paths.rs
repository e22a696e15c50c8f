//! The declared paths as a tree, and the tables that the decoder builds from it.

use crate::codec::plan::{
    Array, Bits, Each, Entry, Group, LevelArray, MAX_SLOTS, Node, Place, Positions, Several, Slot, word,
};

/// Maximum number of steps of a path.
const MAX_PATH: usize = 8;
/// Maximum position of an element, counted from either end.
const MAX_POSITION: usize = 64;
const MAX_BACK: usize = 8;

/// A step of a path: into an object, to one element of an array, or to each.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(String),
    At(i32),
    Each,
}

pub(super) fn is_key(key: &str) -> bool {
    word(key.as_bytes()) != 0 && !key.bytes().any(|b| b < 0x20 || b"\"\\[]@".contains(&b))
}

/// Returns the steps of a path, or the fault of its text.
fn steps(path: &str) -> Result<Vec<Step>, String> {
    let wrong = || format!("expected 1 to {MAX_PATH} keys joined by dots, or positions `[n]`, saw {path:?}");
    let (mut steps, mut rest) = (Vec::new(), path);
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']').ok_or_else(wrong)?;
            steps.push(match inside.parse::<i32>() {
                _ if inside.is_empty() => Step::Each,
                Ok(at) if at.unsigned_abs() as usize <= MAX_POSITION => Step::At(at),
                _ => {
                    return Err(format!(
                        "expected a position from -{MAX_BACK} to {MAX_POSITION}, saw {path:?}"
                    ));
                }
            });
            rest = after;
            continue;
        }
        let key = if steps.is_empty() { rest } else { rest.strip_prefix('.').ok_or_else(wrong)? };
        let end = key.find(['.', '[']).unwrap_or(key.len());
        let (key, after) = key.split_at(end);
        if !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("{path:?} can never match; write `[{key}]` for an element of an array"));
        }
        if !is_key(key) {
            return Err(wrong());
        }
        steps.push(Step::Key(key.to_owned()));
        rest = after;
    }
    if steps.is_empty() || steps.len() > MAX_PATH { Err(wrong()) } else { Ok(steps) }
}

/// Checks the text of a path whose array is unknown.
pub(super) fn check(path: &str) -> Result<(), String> {
    match path.strip_prefix('@') {
        Some("") => Ok(()),
        Some(rest) => steps(below(rest, path)?).map(drop),
        None => steps(path).map(drop),
    }
}

/// Returns the rest of a path in an element, after `@`, without its dot.
fn below<'a>(rest: &'a str, path: &str) -> Result<&'a str, String> {
    match rest.strip_prefix('.') {
        Some(rest) => Ok(rest),
        None if rest.starts_with('[') => Ok(rest),
        None => Err(format!("expected `.` or `[` after `@`, saw {path:?}; write \"@.{rest}\"")),
    }
}

/// The arrays whose elements are a message's, as steps that end in [`Step::Each`].
#[derive(Debug, Clone, Default)]
pub(super) struct Scope(Vec<Step>);

impl Scope {
    pub fn new(each: &str) -> Result<Self, String> {
        let mut steps = steps(&format!("{}[]", each.strip_suffix("[]").unwrap_or(each)))?;
        if steps.iter().any(|step| matches!(step, Step::At(..0))) {
            return Err(format!("expected keys, positions from the start and `[]`, saw {each:?}"));
        }
        if steps.iter().filter(|step| **step == Step::Each).count() > 2 {
            return Err(format!("expected at most two arrays, one in the other, saw {each:?}"));
        }
        steps.shrink_to_fit();
        Ok(Self(steps))
    }

    /// Returns the steps of a path of the message.
    fn resolve(&self, path: &str) -> Result<Vec<Step>, String> {
        let found = match path.strip_prefix('@') {
            Some(_) if self.0.is_empty() => {
                return Err(format!("expected each= in the message, as `@` is its element, saw {path:?}"));
            }
            Some("") => self.0.clone(),
            Some(rest) => {
                let rest = steps(below(rest, path)?)?;
                self.0.iter().cloned().chain(rest).collect()
            }
            None => steps(path)?,
        };
        let entered = found.iter().rposition(|step| *step == Step::Each).map_or(0, |last| last + 1);
        if found.len() > MAX_PATH || found[..entered] != self.0[..entered.min(self.0.len())] {
            return Err(format!(
                "{path:?} can never match; expected each= to name the array, and at most {MAX_PATH} steps"
            ));
        }
        Ok(found)
    }
}

/// A place of the declared paths, with those below it.
#[derive(Debug, Default)]
struct Draft {
    slot: Slot,
    keys: Vec<(String, Draft)>,
    positions: Vec<(i32, Draft)>,
    element: Option<Box<Draft>>,
    levels: Option<LevelArray>,
}

/// The paths of a declaration.
#[derive(Debug)]
pub(super) struct Paths {
    top: Draft,
    /// The paths by slot. Slot 0 is the top.
    pub names: Vec<String>,
    /// The slots of the places that the path of each slot passes through last.
    pub parents: Vec<Slot>,
}

impl Default for Paths {
    fn default() -> Self {
        Self { top: Draft::default(), names: vec![String::new()], parents: vec![0] }
    }
}

impl Paths {
    pub fn new_slot(&mut self, name: String, parent: Slot) -> Slot {
        self.names.push(name);
        self.parents.push(parent);
        (self.names.len() - 1).min(MAX_SLOTS - 1) as Slot
    }

    /// Returns the slot of a path, which it adds if it is new.
    pub fn slot(&mut self, scope: &Scope, path: &str, levels: Option<LevelArray>) -> Result<Slot, String> {
        let steps = scope.resolve(path)?;
        let mut top = std::mem::take(&mut self.top);
        let slot = self.add(&mut top, &steps, path, levels);
        self.top = top;
        slot
    }

    fn add(
        &mut self,
        top: &mut Draft,
        steps: &[Step],
        path: &str,
        levels: Option<LevelArray>,
    ) -> Result<Slot, String> {
        let (mut draft, mut name) = (top, String::new());
        for step in steps {
            let parent = draft.slot;
            draft = match step {
                Step::Key(key) => {
                    name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                    let found = draft.keys.iter().position(|(other, _)| other == key);
                    let at = if let Some(at) = found {
                        at
                    } else {
                        {
                            let like = |other: &String| word(other.as_bytes()) == word(key.as_bytes());
                            if draft.keys.iter().any(|(other, _)| like(other)) {
                                return Err(format!("expected a key less like its siblings, saw {path:?}"));
                            }
                            let slot = self.new_slot(name.clone(), parent);
                            draft.keys.push((key.clone(), Draft { slot, ..Draft::default() }));
                            draft.keys.len() - 1
                        }
                    };
                    &mut draft.keys[at].1
                }
                Step::At(position) => {
                    name = format!("{name}[{position}]");
                    let found = draft.positions.iter().position(|(other, _)| other == position);
                    let at = if let Some(at) = found {
                        at
                    } else {
                        {
                            let slot = self.new_slot(name.clone(), parent);
                            draft.positions.push((*position, Draft { slot, ..Draft::default() }));
                            draft.positions.len() - 1
                        }
                    };
                    &mut draft.positions[at].1
                }
                Step::Each => {
                    name.push_str("[]");
                    if draft.element.is_none() {
                        let slot = self.new_slot(name.clone(), parent);
                        draft.element = Some(Box::new(Draft { slot, ..Draft::default() }));
                    }
                    match &mut draft.element {
                        Some(element) => element,
                        None => unreachable!("Invariant: the element was added"),
                    }
                }
            };
        }
        if levels.is_some() && draft.levels.is_some_and(|other| Some(other) != levels) {
            return Err(format!("expected one side and one row for the levels at {path:?}, saw two"));
        }
        draft.levels = draft.levels.or(levels);
        Ok(draft.slot)
    }

    /// Builds the tables. `extra` are the entries of the envelope, given the place of a bare message.
    pub fn build(&self, extra: impl FnOnce(Place) -> Vec<Entry>) -> (Tables, Vec<String>) {
        // Node 0 is never a child, so a place without keys holds 0.
        let mut build =
            Build { tables: Tables { nodes: vec![Node::new(&[])], ..Tables::default() }, faults: Vec::new() };
        let bare = build.place(&self.top, None, "");
        let extra = extra(bare);
        let tables = &mut build.tables;
        (tables.top, tables.wrapped) = (bare, bare.child);
        if !extra.is_empty() {
            let entries: Vec<Entry> =
                self.top
                    .keys
                    .iter()
                    .map(|(key, draft)| {
                        // The bare message has built the places of the keys.
                        tables.nodes[usize::from(bare.child)].find(key.as_bytes()).cloned().unwrap_or_else(
                            || entry(key, Place { slot: draft.slot, ..Place::default() }, false),
                        )
                    })
                    .collect();
            tables.nodes.push(Node::new(&[entries, extra.clone()].concat()));
            tables.top.child = (tables.nodes.len() - 1) as u8;
            tables.nodes.push(Node::new(&extra));
            tables.wrapped = (tables.nodes.len() - 1) as u8;
        }
        (build.tables, build.faults)
    }

    pub fn has_top_key(&self, key: &str) -> bool {
        self.top.keys.iter().any(|(other, _)| word(other.as_bytes()) == word(key.as_bytes()))
    }
}

/// The compiled tree.
#[derive(Debug, Default)]
pub(in crate::codec) struct Tables {
    pub nodes: Vec<Node>,
    pub positions: Vec<Positions>,
    pub several: Vec<Several>,
    pub eaches: Vec<Each>,
    pub top: Place,
    pub wrapped: u8,
}

struct Build {
    tables: Tables,
    faults: Vec<String>,
}

impl Build {
    fn place(&mut self, draft: &Draft, parent: Option<u8>, name: &str) -> Place {
        let mut place = Place { slot: draft.slot, child: 0, array: Array::Skip };
        let (mut positions, mut whole) = (None, Vec::new());
        if !draft.keys.is_empty() {
            let entries: Vec<Entry> = draft
                .keys
                .iter()
                .map(|(key, child)| entry(key, self.place(child, parent, key), false))
                .collect();
            self.tables.nodes.push(Node::new(&entries));
            place.child = (self.tables.nodes.len() - 1) as u8;
        }
        if !draft.positions.is_empty() {
            let mut plan = Positions { forward: Vec::new(), back: Vec::new() };
            for (position, child) in &draft.positions {
                let inner = self.place(child, parent, &format!("[{position}]"));
                if let Ok(at) = usize::try_from(*position) {
                    {
                        plan.forward.resize(plan.forward.len().max(at + 1), None);
                        plan.forward[at] = Some(inner);
                    }
                } else {
                    {
                        let back = position.unsigned_abs() as usize;
                        if inner.child != 0 || inner.array != Array::Skip || back > MAX_BACK {
                            let text = format!("expected a text or number, the last {MAX_BACK} at most");
                            self.faults.push(format!("{name}[{position}]: {text}"));
                        }
                        plan.back.push((back, child.slot));
                    }
                }
            }
            self.tables.positions.push(plan);
            positions = Some((self.tables.positions.len() - 1) as u8);
        }
        if let Some(element) = &draft.element {
            let index = self.tables.eaches.len() as u8;
            let mut below = Bits::default();
            collect(element, &mut below);
            self.tables.eaches.push(Each {
                element: Place::default(),
                parent,
                below,
                group: Group::default(),
                inner: Vec::new(),
            });
            self.tables.eaches[usize::from(index)].element = self.place(element, Some(index), name);
            whole.push(Array::Each(index));
        }
        whole.extend(draft.levels.map(Array::Levels));
        place.array = match (positions, &whole[..]) {
            (None, []) => Array::Skip,
            (None, [array]) => *array,
            (Some(index), []) => Array::Positions(index),
            _ => {
                self.tables.several.push(Several { positions, whole });
                Array::Several((self.tables.several.len() - 1) as u8)
            }
        };
        place
    }
}

fn collect(draft: &Draft, into: &mut Bits) {
    into.insert(draft.slot);
    draft.keys.iter().for_each(|(_, child)| collect(child, into));
    draft.positions.iter().for_each(|(_, child)| collect(child, into));
    if let Some(element) = &draft.element {
        collect(element, into);
    }
}

pub(super) fn entry(key: &str, place: Place, payload: bool) -> Entry {
    let long = if key.len() > 8 { key.as_bytes().into() } else { Box::default() };
    Entry { word: word(key.as_bytes()), long, place, payload }
}
