//! A stream gives the same events and the same batch however it is cut, and what is written of a batch is read
//! and written again the same.
#![no_main]

use std::ops::ControlFlow;

use libfuzzer_sys::fuzz_target;
use mistralwire_core::from_json::{Mode, Scratch};
use mistralwire_core::sse::{Framer, State};
use mistralwire_core::stream::{Form, Output, Rules, write_events};
use mistralwire_fuzz::{Input, LIMITS, PLAN, STREAM};

const EVENT_BYTES: usize = 1_000;
const ELEMENT: u32 = 1;

fn frames(rules: &Rules, pieces: &[&[u8]]) -> (Vec<String>, State) {
    let (mut framer, mut scratch, mut output) = (Framer::new(EVENT_BYTES), Scratch::new(), Output::default());
    for piece in pieces {
        framer.take(piece, &mut |event| {
            output.add_frame(&PLAN, rules, &event, &mut scratch);
            ControlFlow::Continue(())
        });
    }
    let shown = output.frames.iter().map(|frame| {
        let bytes = &output.bytes[frame.bytes.clone()];
        format!("{} {:?} {:?} {:?} {bytes:?}", frame.line, frame.id, frame.name, frame.form)
    });
    (shown.collect(), framer.state)
}

/// What a stream comes to up to the first event that is no message.
#[derive(Debug, PartialEq)]
struct Batch {
    elements: Vec<u8>,
    count: usize,
    usage: Option<Vec<u8>>,
    finish_reasons: Vec<(i64, Box<[u8]>)>,
    stop: Option<Form>,
}

fn batch(rules: &Rules, pieces: &[&[u8]]) -> Batch {
    let (mut framer, mut scratch) = (Framer::new(EVENT_BYTES), Scratch::new());
    let mut batch = Batch { elements: vec![], count: 0, usage: None, finish_reasons: vec![], stop: None };
    for piece in pieces {
        let mut output = Output::default();
        framer.take(piece, &mut |event| output.add_element(&PLAN, rules, &event, &mut scratch));
        batch.elements.extend_from_slice(output.elements());
        batch.count += output.count;
        if let Some(usage) = output.usage.clone() {
            batch.usage = Some(output.bytes[usage].to_vec());
        }
        batch.finish_reasons.append(&mut output.finish_reasons);
        if let Some(frame) = output.frames.first() {
            batch.stop = Some(frame.form);
            break;
        }
    }
    batch
}

fuzz_target!(|bytes: &[u8]| {
    let Some(Input { root, mode, data }) = Input::read(bytes) else { return };
    let observed = if root == STREAM.root { STREAM.observed } else { Default::default() };
    let rules = |validate| {
        let mode = Mode { validate, limits: LIMITS, gap_bytes: usize::MAX };
        Rules::new(&PLAN, (root, root, STREAM.error), mode, 1 << 20, ELEMENT, observed)
    };
    let rules = rules(mode & 1 == 1);
    let (whole, whole_batch) = (frames(&rules, &[data]), batch(&rules, &[data]));
    let pieces: Vec<&[u8]> = data.chunks((mode as usize >> 1) + 1).collect();
    assert_eq!(frames(&rules, &pieces), whole);
    assert_eq!(batch(&rules, &pieces), whole_batch);

    let (mut scratch, mut text, mut again) = (Scratch::new(), vec![], vec![]);
    let place = (root, ELEMENT);
    write_events(&PLAN, place, &whole_batch.elements, Some(("", 7)), false, &mut scratch, &mut text)
        .expect("what was read can be written");
    let reread = batch(&rules, &[&text]);
    if reread.count == whole_batch.count {
        write_events(&PLAN, place, &reread.elements, Some(("", 7)), false, &mut scratch, &mut again)
            .expect("what was read can be written");
        assert_eq!(String::from_utf8(again), String::from_utf8(text));
    }
});
