//! Conversion between JSON text and protobuf wire bytes, driven by plans.
//!
//! A plan says for each message what its JSON names are and which fields hold their values; it comes as
//! plain data from the Python package, which makes it from the descriptors of the contract. No message type
//! is named here.
//!
//! Whatever is wrong or odd ends with a [`Handover`]: the Python engine then converts the document again, and
//! builds the error if there is one.

pub mod duplicates;
pub mod from_json;
pub mod guard;
pub mod guess;
pub mod handover;
pub mod indent;
pub mod number;
pub mod pack;
pub mod plain;
pub mod plan;
pub mod scan;
pub mod sse;
pub mod stream;
pub mod text;
pub mod to_json;
pub mod wire;

pub use handover::Handover;
pub use plan::Plan;
