//! The fields of extensions, which have any names.

use super::Compiler;
use crate::codec::plan::{Conversion, Field};
use crate::codec::spec::{Convert, MessageSpec, Role};
use crate::event::{Extension, Kind};

/// The member of an extension that is the symbol.
const SYMBOL: &str = "symbol";

/// Returns the names of the fields of an extension; none for another message.
pub(super) fn keys(spec: &MessageSpec) -> Vec<Box<str>> {
    let fields = if spec.role == Role::Event(Kind::Extension) { &spec.fields[..] } else { &[] };
    fields.iter().map(|field| field.name.as_str().into()).collect()
}

impl Compiler {
    pub(super) fn extension_fields(&mut self, spec: &MessageSpec) -> Vec<Option<Field>> {
        let name = spec.extension.as_ref().unwrap_or(&spec.name);
        if name.is_empty() || name.len() > Extension::MAX_NAME_BYTES {
            let most = Extension::MAX_NAME_BYTES;
            let place = format!("{}.extension", spec.name);
            self.fault(&place, format_args!("expected a name of 1 to {most} bytes, saw {name:?}"));
        }
        if spec.fields.is_empty() {
            self.fault(&spec.name, "expected at least one field of the extension");
        }
        let mut fields = Vec::new();
        for (at, field) in spec.fields.iter().enumerate() {
            let place = format!("{}.{}", spec.name, field.name);
            if field.name.is_empty() || field.name == SYMBOL {
                self.fault(
                    &place,
                    format_args!("expected a name other than {SYMBOL:?}, saw {:?}", field.name),
                );
            }
            if spec.fields[..at].iter().any(|other| other.name == field.name) {
                self.fault(&place, "expected the field once");
            }
            let slot = self.slot(&place, &field.path);
            let convert = match &field.convert {
                Convert::Enum(names) => {
                    if names.is_empty() {
                        self.fault(&place, "expected at least one name");
                    }
                    let name =
                        |(text, name): &(String, String)| (text.as_bytes().into(), name.as_str().into());
                    Conversion::Names(names.iter().map(name).collect())
                }
                _ => self.conversion(&place, field),
            };
            fields.push(Some(Field { slot, required: field.required, convert }));
        }
        fields
    }
}
