//! Why a document falls back to the Python engine.

use std::collections::TryReserveError;

/// The reason why a document is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Handover {
    /// The text is not JSON in UTF-8, or not an object.
    NotJson,
    /// The document exceeds a limit.
    Limit,
    /// The document breaks the contract, and is validated.
    Violation,
    /// The wire bytes are not the canonical form of a message.
    Wire,
    /// A field, an enum value or an alternative that the plan does not have, or an enum value without a string.
    Newer,
    /// The content of JsonExtra contradicts the fields, or the names to be written.
    Extra,
    /// A number that JSON does not have.
    NotFinite,
    /// A union whose alternative is a number or an enum, with a value that needs a note.
    Union,
    /// An event whose name says that it may not be part of the answer.
    Event,
    /// The arguments of the call are not those of the engine: another message type, or another type of data.
    Arguments,
    /// There is not enough memory for the tokens or the result.
    Memory,
    /// The engine panicked, which is a bug.
    Panic,
}

/// All reasons, in the order of their numbers.
pub const NAMES: [&str; 12] = [
    "not_json",
    "limit",
    "violation",
    "wire",
    "newer",
    "extra",
    "not_finite",
    "union",
    "event",
    "arguments",
    "memory",
    "panic",
];

impl From<TryReserveError> for Handover {
    fn from(_: TryReserveError) -> Handover {
        Handover::Memory
    }
}

/// The result of a step of a conversion.
pub type Outcome<T = ()> = Result<T, Handover>;
