//! Free-form data, as large as its sender likes up to a limit.

/// Free-form JSON with a name. Its size is limited, because queues pay for the bytes that wait in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Extension {
    name: Box<str>,
    json: Box<str>,
    origin: u64,
}

/// An extension that is larger than a queue could hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("extension not published: its {part} has {size} bytes, and at most {max} are allowed; send less")]
pub struct ExtensionTooLarge {
    /// `name` or `JSON`.
    pub part: &'static str,
    /// Its size in bytes.
    pub size: usize,
    /// The largest size.
    pub max: usize,
}

impl Extension {
    /// Maximum number of bytes of JSON.
    pub const MAX_BYTES: usize = 100 * 1024;
    /// Maximum number of bytes of a name.
    pub const MAX_NAME_BYTES: usize = 256;
    /// What an extension costs besides its texts: itself, and the allocator's share.
    const OVERHEAD: usize = 128;
    /// The largest [`Self::cost`].
    pub const MAX_COST: usize = Self::OVERHEAD + Self::MAX_NAME_BYTES + Self::MAX_BYTES;

    /// Returns an extension. `origin` is the instance that emitted it, to which it is not delivered; 0 for an adapter.
    ///
    /// # Errors
    /// [`ExtensionTooLarge`] if the name or the JSON is too long.
    pub fn new(name: &str, json: &str, origin: u64) -> Result<Self, ExtensionTooLarge> {
        for (part, size, max) in
            [("name", name.len(), Self::MAX_NAME_BYTES), ("JSON", json.len(), Self::MAX_BYTES)]
        {
            if size > max {
                return Err(ExtensionTooLarge { part, size, max });
            }
        }
        Ok(Self { name: name.into(), json: json.into(), origin })
    }

    /// Returns the name that the sender chose.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the JSON text.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Returns the instance that emitted the event, to which it is not delivered; 0 for an adapter.
    pub fn origin(&self) -> u64 {
        self.origin
    }

    /// Returns the bytes that the extension occupies besides its slot.
    pub fn cost(&self) -> usize {
        Self::OVERHEAD + self.name.len() + self.json.len()
    }
}
