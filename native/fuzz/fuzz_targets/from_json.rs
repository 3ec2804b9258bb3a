//! Any text is read or handed over; what is read without validation can be written, and comes back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mistralwire_core::from_json::Scratch;
use mistralwire_fuzz::{Input, from_json, from_json_with_gaps, rewritten, written};

fuzz_target!(|bytes: &[u8]| {
    let Some(Input { root, mode, data }) = Input::read(bytes) else { return };
    let validate = mode & 1 == 1;
    let mut scratch = Scratch::new();
    // The binding lets nothing but UTF-8 through.
    if str::from_utf8(data).is_err() || from_json(root, data, validate, &mut scratch).is_err() {
        return;
    }
    let wire = scratch.out.clone();
    if validate {
        from_json(root, data, false, &mut scratch).expect("what is valid is read without validation too");
        assert_eq!(scratch.out, wire, "validation changes nothing of what it accepts");
    }
    let gap_bytes = usize::from(mode >> 1) + 1;
    assert_eq!(from_json_with_gaps(root, data, gap_bytes, &mut scratch), wire);
    let text = written(root, &wire, &mut scratch).expect("what was read can be written");
    let again = rewritten(root, &text, &mut scratch);
    assert_eq!(String::from_utf8(text), String::from_utf8(again));
});
