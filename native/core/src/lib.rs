//! Conversion between JSON text and protobuf wire bytes, driven by plans.
//!
//! A plan has the JSON names of each message and the fields that hold their values; it is
//! plain data from the Python package, which compiles it from the descriptors of the contract. No message type
//! is named here.
//!
//! Anything wrong or unusual ends with a [`Handover`]: the Python engine then converts the document again, and
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
