//! Any wire bytes are written or handed over; what is written is JSON, and is read and written again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mistralwire_core::from_json::Scratch;
use mistralwire_fuzz::{Input, rewritten, to_json};

fuzz_target!(|bytes: &[u8]| {
    let Some(Input { root, mode, data }) = Input::read(bytes) else { return };
    let mut scratch = Scratch::new();
    if to_json(root, data, mode & 1 == 1, &mut scratch).is_err() {
        return;
    }
    let text = String::from_utf8(scratch.out.clone()).expect("JSON text is UTF-8");
    // A program may have put any members beside the fields; reading them sets the fields.
    let first = rewritten(root, text.as_bytes(), &mut scratch);
    let second = rewritten(root, &first, &mut scratch);
    assert_eq!(String::from_utf8(first), String::from_utf8(second));
});
