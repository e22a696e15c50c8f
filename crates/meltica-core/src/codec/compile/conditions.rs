//! The conditions of messages.

use super::Compiler;
use crate::codec::plan::{Bits, Slot, TextMatch};
use crate::codec::spec::{CodecSpec, Match, MessageSpec, Role};

impl Compiler {
    /// Returns the slots that must and must not hold a value, and the texts to match.
    pub(super) fn conditions(&mut self, spec: &MessageSpec) -> (Bits, Bits, Vec<(Slot, TextMatch)>) {
        let (mut present, mut absent, mut texts) = (Bits::default(), Bits::default(), Vec::new());
        for condition in &spec.matches {
            let place = format!("{}.matches", spec.name);
            let (at, text) = match condition {
                Match::Equals(at, text) => (at, TextMatch::Equals(text.as_bytes().into())),
                Match::Prefix(at, text) => (at, TextMatch::Prefix(text.as_bytes().into())),
                Match::OneOf(at, texts) => {
                    if texts.is_empty() {
                        self.fault(&place, "expected at least one text in one_of");
                    }
                    (at, TextMatch::OneOf(texts.iter().map(|text| text.as_bytes().into()).collect()))
                }
                Match::Present(at) => {
                    present.insert(self.slot(&place, at));
                    continue;
                }
                Match::Absent(at) => {
                    absent.insert(self.slot(&place, at));
                    continue;
                }
                Match::Whole(_) => {
                    // No frame of JSON matches.
                    present.insert(0);
                    absent.insert(0);
                    continue;
                }
            };
            let at = self.text_at(&place, at);
            present.insert(at.slot);
            let text = if at.part.is_some() { TextMatch::Part(at, text.into()) } else { text };
            texts.push((at.slot, text));
        }
        (present, absent, texts)
    }

    /// Returns the frames that are control messages although they are not JSON, with the indices of the messages.
    pub(super) fn whole_texts(&mut self, spec: &CodecSpec) -> Vec<(String, u16)> {
        let mut texts = Vec::new();
        for (index, message) in (0..).zip(&spec.messages) {
            for condition in &message.matches {
                let Match::Whole(text) = condition else { continue };
                if message.role != Role::Control || message.matches.len() > 1 || message.each.is_some() {
                    let place = format!("{}.matches", message.name);
                    self.fault(&place, "expected whole as the only condition of a control message");
                }
                texts.push((text.clone(), index));
            }
        }
        texts
    }
}
