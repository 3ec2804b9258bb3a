//! What the targets share: the plans, and the form of an input.

use std::sync::LazyLock;

use mistralwire_core::Plan;
use mistralwire_core::from_json::{Mode, Scratch, read};
use mistralwire_core::handover::Outcome;
use mistralwire_core::pack::unpack;
use mistralwire_core::plan::Form;
use mistralwire_core::scan::Limits;
use mistralwire_core::stream::Observed;
use mistralwire_core::to_json::write;

/// The plans of the contract, from the file that MISTRALWIRE_PLANS names; `make fuzz` writes it.
pub static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let path = std::env::var("MISTRALWIRE_PLANS").expect("MISTRALWIRE_PLANS names no file: run `make fuzz`");
    unpack(&std::fs::read(path).expect("the plans can be read")).expect("the plans are well formed")
});

/// What is known of streams of chunks, from MISTRALWIRE_STREAM, which `make fuzz` sets.
pub struct Stream {
    /// The indices of a chunk and of an error body.
    pub root: usize,
    pub error: usize,
    pub observed: Observed,
}

pub static STREAM: LazyLock<Stream> = LazyLock::new(|| {
    let text = std::env::var("MISTRALWIRE_STREAM").expect("MISTRALWIRE_STREAM is not set: run `make fuzz`");
    let numbers: Vec<u32> = text.split(',').map(|number| number.parse().expect("a number")).collect();
    let [root, error, a, b, c, d] = numbers[..] else { panic!("not six numbers") };
    let root = root as usize;
    let observed = Observed::new(&PLAN, root, [a, b, c, d]).expect("the fields of a chunk");
    Stream { root, error: error as usize, observed }
});

pub const LIMITS: Limits = Limits { depth: 200, members: 10_000, values: 1_000_000 };

/// What the bytes of an input say.
pub struct Input<'a> {
    /// The index of the plan, which is that of an object.
    pub root: usize,
    pub mode: u8,
    pub data: &'a [u8],
}

impl<'a> Input<'a> {
    /// Read an input; None if its first byte is no message that can be a document, or it is too short.
    pub fn read(bytes: &'a [u8]) -> Option<Input<'a>> {
        let (&[root, mode], data) = bytes.split_first_chunk()?;
        let message = PLAN.messages.get(root as usize)?;
        (message.form == Form::Object).then_some(Input { root: root as usize, mode, data })
    }
}

/// Read JSON text into the output of the scratch memory.
pub fn from_json(root: usize, text: &[u8], validate: bool, scratch: &mut Scratch) -> Outcome {
    read(&PLAN, root, text, Mode { validate, limits: LIMITS, gap_bytes: usize::MAX }, scratch)
}

/// Read JSON text, leaving gaps for strings of this size, which are then filled.
pub fn from_json_with_gaps(root: usize, text: &[u8], gap_bytes: usize, scratch: &mut Scratch) -> Vec<u8> {
    let mode = Mode { validate: false, limits: LIMITS, gap_bytes };
    read(&PLAN, root, text, mode, scratch).expect("what was read can be read with gaps");
    let mut wire = Vec::new();
    scratch.pieces(text, |piece| wire.extend_from_slice(piece));
    assert_eq!(wire.len(), scratch.size());
    wire
}

/// Write wire bytes as JSON text into the output of the scratch memory.
pub fn to_json(root: usize, wire: &[u8], camel: bool, scratch: &mut Scratch) -> Outcome {
    write(&PLAN, root, wire, camel, &mut scratch.tape, &mut scratch.out)
}

/// Write wire bytes; None if they are handed over.
pub fn written(root: usize, wire: &[u8], scratch: &mut Scratch) -> Option<Vec<u8>> {
    to_json(root, wire, false, scratch).ok().map(|()| scratch.out.clone())
}

/// Read a text that was written, and write it again.
pub fn rewritten(root: usize, text: &[u8], scratch: &mut Scratch) -> Vec<u8> {
    from_json(root, text, false, scratch).expect("what was written can be read");
    let wire = scratch.out.clone();
    written(root, &wire, scratch).expect("what was read can be written")
}
