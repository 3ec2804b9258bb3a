//! Streams of messages: events to wire bytes, one by one or as the elements of a batch message, and back.

use std::ops::{ControlFlow, Range};

use crate::from_json::{Mode, Scratch, read};
use crate::guard::guarded;
use crate::handover::{Handover, Outcome};
use crate::number::put_integer;
use crate::plan::{EnumValue, Kind, Plan};
use crate::scan::{Document, Token, TokenKind, scan};
use crate::sse::{BYTE_ORDER_MARK, Content, Event};
use crate::text::name_of;
use crate::to_json::write;
use crate::wire::{EXTRA_TAG, MEMBERS_TAG, Wire, put_varint};

// The members that distinguish an error body from a message, one bit each.
const CHOICES: u8 = 1;
const OBJECT: u8 = 1 << 1;
const ERROR: u8 = 1 << 2;
const DETAIL: u8 = 1 << 3;
const MESSAGE: u8 = 1 << 4;
/// A non-empty error; choices that are an empty array; choices of any type, including null.
const FILLED_ERROR: u8 = 1 << 5;
const NO_CHOICES: u8 = 1 << 6;
const ANY_CHOICES: u8 = 1 << 7;

/// The tags of the fields in a message that observers of a stream need; 0 for one that it lacks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    pub usage: u64,
    pub choices: u64,
    pub index: u64,
    pub finish_reason: u64,
    /// Index of a choice's message; and the member and the position of the field of its finish reason.
    choice: usize,
    reason_place: (usize, usize),
}

impl Observed {
    /// Create it from the numbers of the usage, the choices, and the index and finish reason of a choice.
    pub fn new(plan: &Plan, root: usize, numbers: [u32; 4]) -> Option<Observed> {
        let field = |message: usize, number: u32, kind: Kind, repeated: bool| {
            let place = plan.messages[message].place_of(number.into())?;
            let (m, f) = (usize::from(place.member), usize::from(place.field));
            let field = &plan.messages[message].members[m].fields[f];
            (field.kind == kind && field.repeated == repeated).then_some((field, (m, f)))
        };
        let [usage, choices, index, finish_reason] = numbers;
        if numbers == [0; 4] {
            return Some(Observed::default());
        }
        let (usage, _) = field(root, usage, Kind::Message, false)?;
        let (choices, _) = field(root, choices, Kind::Message, true)?;
        let choice = choices.message;
        let (index, _) = field(choice, index, Kind::Integer, false)?;
        let (finish_reason, reason_place) = field(choice, finish_reason, Kind::Enum, false)?;
        Some(Observed {
            usage: usage.tag.into(),
            choices: choices.tag.into(),
            index: index.tag.into(),
            finish_reason: finish_reason.tag.into(),
            choice,
            reason_place,
        })
    }
}

/// How the events of a stream are converted.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Index of the message, and of an error body.
    pub root: usize,
    pub error: usize,
    pub mode: Mode,
    pub document_bytes: usize,
    /// Field number of the messages in a batch message.
    pub element: u32,
    pub observed: Observed,
    /// The members that mark an error body, without those that the message has itself.
    signs: u8,
    /// Whether the message has choices, which identify it under any event name.
    has_choices: bool,
}

impl Rules {
    /// Create the rules; `newest` is the message of the newest contract, `root` the one to write.
    pub fn new(
        plan: &Plan,
        (root, newest, error): (usize, usize, usize),
        mode: Mode,
        document_bytes: usize,
        element: u32,
        observed: Observed,
    ) -> Rules {
        let names = &plan.messages[newest].names;
        let mut signs = OBJECT;
        for (bit, name) in [(ERROR | FILLED_ERROR, &b"error"[..]), (DETAIL, b"detail"), (MESSAGE, b"message")]
        {
            if names.find(name).is_none() {
                signs |= bit;
            }
        }
        let has_choices = names.find(b"choices").is_some();
        Rules { root, error, mode, document_bytes, element, observed, signs, has_choices }
    }

    /// Convert the data of an event to wire bytes in the scratch memory.
    fn convert(&self, plan: &Plan, event: &Event, data: &[u8], scratch: &mut Scratch) -> Outcome<Form> {
        let data = data.strip_prefix(BYTE_ORDER_MARK).unwrap_or(data);
        if !event.is_error() {
            let outcome = self.read(plan, self.root, data, self.mode, scratch);
            match outcome {
                // The text is JSON, and its tokens are on the tape.
                Ok(()) | Err(Handover::Violation | Handover::Union) => {}
                Err(reason) => return Err(reason),
            }
            let found = signs_of(Document { text: data, tape: &scratch.tape });
            if !self.is_error_body(found, event.is_other()) {
                if event.is_other() && self.has_choices && found & ANY_CHOICES == 0 {
                    return Err(Handover::Event);
                }
                return outcome.map(|()| Form::Message);
            }
        }
        let mode = Mode { validate: false, ..self.mode };
        match self.read(plan, self.error, data, mode, scratch) {
            // Text that begins like an object may be one that only the Python engine accepts.
            Err(Handover::NotJson) if data.trim_ascii_start().first() != Some(&b'{') => {
                scratch.out.clear();
                scratch.out.extend_from_slice(data);
                Ok(Form::ErrorText)
            }
            outcome => outcome.map(|()| Form::Error),
        }
    }

    /// Scan data, which may be too long or not UTF-8.
    fn read(&self, plan: &Plan, root: usize, data: &[u8], mode: Mode, scratch: &mut Scratch) -> Outcome {
        if data.len() > self.document_bytes {
            return Err(Handover::Limit);
        }
        read(plan, root, data, mode, scratch)
    }

    /// Return whether an object is an error body by its members: the rule of the Python package's decoder.
    fn is_error_body(&self, found: u8, is_other: bool) -> bool {
        let is_sure = is_other || found & NO_CHOICES != 0;
        let signs = if is_sure { OBJECT | FILLED_ERROR } else { OBJECT | ERROR | DETAIL | MESSAGE };
        found & CHOICES == 0 && found & self.signs & signs != 0
    }
}

/// Return the members of an object that distinguish an error body from a message.
fn signs_of(document: Document) -> u8 {
    let mut found = 0;
    for name in document.names(0) {
        let (bits, signs) = match &*name_of(document, name) {
            b"choices" => (CHOICES | NO_CHOICES, ANY_CHOICES | sign_of_choices(document, name + 1)),
            b"object" => (OBJECT, sign_of_object(document, name + 1)),
            b"error" => (ERROR | FILLED_ERROR, sign_of_error(document, name + 1)),
            b"detail" => {
                let kind = document.tape[name + 1].kind;
                (DETAIL, if kind.is_string() || kind == TokenKind::Array { DETAIL } else { 0 })
            }
            b"message" => {
                let kind = document.tape[name + 1].kind;
                (MESSAGE, if kind.is_string() || kind == TokenKind::Object { MESSAGE } else { 0 })
            }
            _ => continue,
        };
        // Of duplicate names, the last value counts.
        found = found & !bits | signs;
    }
    found
}

fn sign_of_choices(document: Document, value: usize) -> u8 {
    match document.tape[value].kind {
        TokenKind::Null => 0,
        TokenKind::Array if document.is_empty(value) => NO_CHOICES,
        _ => CHOICES,
    }
}

fn sign_of_object(document: Document, value: usize) -> u8 {
    let is_string = document.tape[value].kind.is_string();
    if is_string && matches!(&*name_of(document, value), b"error" | b"Error") { OBJECT } else { 0 }
}

fn sign_of_error(document: Document, value: usize) -> u8 {
    let token = document.tape[value];
    let is_filled = match token.kind {
        TokenKind::Object => !document.is_empty(value),
        kind if kind.is_string() => token.start < token.end,
        _ => return 0,
    };
    if is_filled { ERROR | FILLED_ERROR } else { ERROR }
}

/// The form of the bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// None: the event has only an id.
    Nothing,
    /// The data of an event that falls back to the Python engine.
    Data(Handover),
    /// Wire bytes of a message.
    Message,
    /// Wire bytes of an error body.
    Error,
    /// The data of an error event that is not a JSON object.
    ErrorText,
    /// Lines without a field name, which fall back to the Python engine.
    Unframed,
    Done,
    AfterDone,
    TooLong,
}

impl Form {
    /// Return its number in the Python package.
    pub fn number(self) -> u8 {
        match self {
            Form::Nothing => 0,
            Form::Data(_) => 1,
            Form::Message => 2,
            Form::Error => 3,
            Form::ErrorText => 4,
            Form::Unframed => 5,
            Form::Done => 6,
            Form::AfterDone => 7,
            Form::TooLong => 8,
        }
    }
}

/// Number of a frame that is not an event: the framer panicked, and the Python engine continues from its state.
pub const BROKEN: u8 = 9;

/// An event for the Python engine.
#[derive(Debug)]
pub struct Frame {
    pub line: u64,
    pub id: Option<Box<[u8]>>,
    pub name: Option<Box<[u8]>>,
    pub form: Form,
    /// The range of its bytes in the output.
    pub bytes: Range<usize>,
}

/// The result of a piece of a stream.
#[derive(Debug, Default)]
pub struct Output {
    /// The bytes of all frames; for a batch, those of its elements, then those of the frame that interrupted it.
    pub bytes: Vec<u8>,
    pub frames: Vec<Frame>,
    /// For a batch, the number of its elements.
    pub count: usize,
    /// For a batch, the range of the wire bytes of the last usage.
    pub usage: Option<Range<usize>>,
    /// The index and the finish reason of each choice that ended, in that order.
    pub finish_reasons: Vec<(i64, Box<[u8]>)>,
    /// Indexes of the choices, without immediate repetitions.
    pub choices: Vec<i64>,
}

impl Output {
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.count = 0;
        self.usage = None;
        self.finish_reasons.clear();
        self.choices.clear();
    }

    /// Return the elements of a batch.
    pub fn elements(&self) -> &[u8] {
        &self.bytes[..self.frames.first().map_or(self.bytes.len(), |frame| frame.bytes.start)]
    }

    /// Release the memory of a long piece.
    pub fn shrink(&mut self, kept_bytes: usize) {
        self.bytes.shrink_to(kept_bytes);
        self.frames.shrink_to(kept_bytes / size_of::<Frame>());
        self.finish_reasons.shrink_to(kept_bytes / 64);
        self.choices.shrink_to(kept_bytes / size_of::<i64>());
    }

    fn push(&mut self, event: &Event, form: Form, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.frames.push(Frame {
            line: event.line,
            id: event.id.map(Box::from),
            name: event.name.map(Box::from),
            form,
            bytes: start..self.bytes.len(),
        });
    }

    /// Add an event as a frame.
    pub fn add_frame(&mut self, plan: &Plan, rules: &Rules, event: &Event, scratch: &mut Scratch) {
        let form = match event.content {
            Content::Nothing => Form::Nothing,
            Content::Done => Form::Done,
            Content::AfterDone => Form::AfterDone,
            Content::TooLong => Form::TooLong,
            Content::Unframed(lines) => return self.push(event, Form::Unframed, lines),
            Content::Data(data) => {
                let mut form = Form::Nothing;
                let before = self.observed();
                let start = self.bytes.len();
                let outcome = guarded(scratch, |scratch| {
                    form = rules.convert(plan, event, data, scratch)?;
                    if form == Form::Message { self.observe(plan, rules, scratch, start) } else { Ok(()) }
                });
                match outcome {
                    Ok(()) => self.push(event, form, &scratch.out),
                    Err(reason) => {
                        self.forget(before);
                        self.push(event, Form::Data(reason), data);
                    }
                }
                return;
            }
        };
        self.push(event, form, b"");
    }

    /// Add an event as an element of a batch; stop at one that is not a message.
    pub fn add_element(
        &mut self,
        plan: &Plan,
        rules: &Rules,
        event: &Event,
        scratch: &mut Scratch,
    ) -> ControlFlow<()> {
        let data = match event.content {
            Content::Nothing | Content::Done => return ControlFlow::Continue(()),
            Content::Data(data) => data,
            Content::AfterDone | Content::TooLong | Content::Unframed(_) => {
                self.add_frame(plan, rules, event, scratch);
                return ControlFlow::Break(());
            }
        };
        let mut form = Form::Nothing;
        let (size, before) = (self.bytes.len(), self.observed());
        let outcome = guarded(scratch, |scratch| {
            form = rules.convert(plan, event, data, scratch)?;
            if form == Form::Message { self.put_element(plan, rules, scratch) } else { Ok(()) }
        });
        match (outcome, form) {
            (Ok(()), Form::Message) => {
                self.count += 1;
                return ControlFlow::Continue(());
            }
            (Ok(()), _) => self.push(event, form, &scratch.out),
            (Err(reason), _) => {
                self.bytes.truncate(size);
                self.forget(before);
                self.push(event, Form::Data(reason), data);
            }
        }
        ControlFlow::Break(())
    }

    fn put_element(&mut self, plan: &Plan, rules: &Rules, scratch: &mut Scratch) -> Outcome {
        let out = &scratch.out;
        self.bytes.reserve(out.len() + 16);
        put_varint(&mut self.bytes, (rules.element << 3 | 2).into());
        put_varint(&mut self.bytes, out.len() as u64);
        let start = self.bytes.len();
        self.bytes.extend_from_slice(out);
        self.observe(plan, rules, scratch, start)
    }

    /// Return the argument of `forget` that undoes the observation of the next message.
    fn observed(&self) -> (Option<Range<usize>>, usize, usize) {
        (self.usage.clone(), self.finish_reasons.len(), self.choices.len())
    }

    fn forget(&mut self, (usage, reasons, choices): (Option<Range<usize>>, usize, usize)) {
        self.usage = usage;
        self.finish_reasons.truncate(reasons);
        self.choices.truncate(choices);
    }

    /// Record the usage, the choices and the finish reasons of a message whose wire bytes begin at `start`.
    fn observe(&mut self, plan: &Plan, rules: &Rules, scratch: &mut Scratch, start: usize) -> Outcome {
        let Scratch { out, tape, .. } = scratch;
        let observed = &rules.observed;
        let mut wire = Wire { data: out };
        while !wire.is_empty() && observed.choices != 0 {
            let tag = wire.varint()?;
            if tag == observed.choices {
                tape.clear();
                let (index, reason) = finish_reason(plan, rules, wire.bytes()?, tape)?;
                if self.choices.last() != Some(&index) {
                    self.choices.push(index);
                }
                self.finish_reasons.extend(reason.map(|reason| (index, reason)));
            } else if tag == observed.usage {
                let size = wire.bytes()?.len();
                let end = start + out.len() - wire.data.len();
                self.usage = Some(end - size..end);
            } else {
                wire.skip(tag as u32)?;
            }
        }
        Ok(())
    }
}

/// Return the index of a choice, and its finish reason if it has one.
#[inline]
fn finish_reason(
    plan: &Plan,
    rules: &Rules,
    choice: &[u8],
    tape: &mut Vec<Token>,
) -> Outcome<(i64, Option<Box<[u8]>>)> {
    let observed = &rules.observed;
    let (mut index, mut number, mut extra) = (0, 0, &b""[..]);
    let mut wire = Wire { data: choice };
    while !wire.is_empty() {
        let tag = wire.varint()?;
        if tag == observed.index {
            index = wire.varint()?;
        } else if tag == observed.finish_reason {
            number = wire.varint()?;
        } else if tag == u64::from(EXTRA_TAG) {
            extra = wire.bytes()?;
        } else {
            wire.skip(tag as u32)?;
        }
    }
    let index = index as i64;
    if number == 0 {
        return Ok((index, None));
    }
    let (m, f) = observed.reason_place;
    let member = &plan.messages[observed.choice].members[m];
    if let Some(EnumValue { string, .. }) = member.fields[f].enum_value(number) {
        return Ok((index, Some(string.clone())));
    }
    // A reason that the enum does not list is in JsonExtra, under the member's name.
    let mut extra = Wire { data: extra };
    let text = if extra.tag(&[MEMBERS_TAG]) { extra.bytes()? } else { b"" };
    let root = scan(text, tape, rules.mode.limits)?;
    let document = Document { text, tape };
    let name = &member.keys[0].bytes[2..member.keys[0].size - 2];
    let is_it = |at: &usize| *name_of(document, *at) == *name && tape[at + 1].kind.is_string();
    let at = document.names(root).find(is_it).ok_or(Handover::Extra)?;
    if tape[at + 1].kind == TokenKind::Lone {
        // Not UTF-8.
        return Err(Handover::Extra);
    }
    Ok((index, Some(name_of(document, at + 1).into())))
}

/// Write the messages of a batch message as events. If there is a first id, a prefix and a number, their ids
/// have the prefix, and are counted from the number.
pub fn write_events(
    plan: &Plan,
    (root, element): (usize, u32),
    batch: &[u8],
    first_id: Option<(&str, i64)>,
    camel: bool,
    scratch: &mut Scratch,
    events: &mut Vec<u8>,
) -> Outcome {
    events.clear();
    events.reserve(batch.len() * 2);
    let mut wire = Wire { data: batch };
    let mut id = first_id;
    while !wire.is_empty() {
        let tag = u32::try_from(wire.varint()?).map_err(|_| Handover::Wire)?;
        if tag != element << 3 | 2 {
            // Other fields of the batch message are not events.
            if tag >> 3 == element || tag >> 3 == 0 || tag & 7 > 2 {
                return Err(Handover::Wire);
            }
            wire.skip(tag)?;
            continue;
        }
        write(plan, root, wire.bytes()?, camel, &mut scratch.tape, &mut scratch.out)?;
        if let Some((prefix, number)) = id {
            events.extend_from_slice(b"id: ");
            events.extend_from_slice(prefix.as_bytes());
            put_integer(number, events);
            events.push(b'\n');
            id = Some((prefix, number.checked_add(1).ok_or(Handover::Arguments)?));
        }
        events.extend_from_slice(b"data: ");
        events.extend_from_slice(&scratch.out);
        events.extend_from_slice(b"\n\n");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{INTERFACE, unpack};
    use crate::scan::Limits;
    use crate::sse::Framer;

    /// Packs plans as the Python package does.
    #[derive(Default)]
    struct Packer(Vec<u8>);

    impl Packer {
        fn put(&mut self, numbers: &[u32]) {
            self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }

        fn text(&mut self, text: &str) {
            self.put(&[text.len() as u32]);
            self.0.extend_from_slice(text.as_bytes());
        }

        /// Add a member with one field: its name, number, kind, whether it is repeated, and its message.
        fn member(&mut self, name: &str, number: u32, kind: u32, repeated: u32, message: u32) {
            self.text(name);
            self.text(name);
            self.put(&[number, 0, 0, 1, number, kind, repeated, message, 32, 0]);
            self.put(&[u32::from(kind == ENUM)]);
            if kind == ENUM {
                self.text("stop");
                self.put(&[1]);
            }
        }

        fn end_message(&mut self) {
            // No item, no alternatives, no discriminator, no tags, neither untagged nor unknown.
            self.put(&[0; 6]);
        }
    }

    const STRING: u32 = 0;
    const INTEGER: u32 = 1;
    const ENUM: u32 = 4;
    const MESSAGE_KIND: u32 = 5;
    const UNLISTED: u32 = 127;
    const NUMBERS: [u32; 4] = [7, 4, 2, 3];

    /// Return the plans of a chunk, a choice, a usage and an error body.
    fn plan() -> Plan {
        let mut packer = Packer::default();
        packer.put(&[INTERFACE, UNLISTED, 4, 0, 3]);
        packer.member("id", 2, STRING, 0, 0);
        packer.member("choices", 4, MESSAGE_KIND, 1, 1);
        packer.member("usage", 7, MESSAGE_KIND, 0, 2);
        packer.end_message();
        packer.put(&[0, 2]);
        packer.member("index", 2, INTEGER, 0, 0);
        packer.member("finish_reason", 3, ENUM, 0, 0);
        packer.end_message();
        packer.put(&[0, 1]);
        packer.member("total_tokens", 2, INTEGER, 0, 0);
        packer.end_message();
        packer.put(&[0, 1]);
        packer.member("detail", 2, STRING, 0, 0);
        packer.end_message();
        unpack(&packer.0).unwrap()
    }

    fn rules(plan: &Plan) -> Rules {
        let limits = Limits { depth: 10, members: 10, values: 30 };
        let mode = Mode { validate: false, limits, gap_bytes: usize::MAX };
        Rules::new(plan, (0, 0, 3), mode, 1_000, 1, Observed::new(plan, 0, NUMBERS).unwrap())
    }

    /// Return the batch of a stream up to the event that interrupts it.
    fn batch(stream: &[u8]) -> Output {
        let plan = plan();
        let rules = rules(&plan);
        let (mut output, mut scratch) = (Output::default(), Scratch::default());
        Framer::new(1_000).take(stream, &mut |event| output.add_element(&plan, &rules, &event, &mut scratch));
        output
    }

    fn events(batch: &[u8], first_id: Option<(&str, i64)>) -> Outcome<String> {
        let (mut events, mut scratch) = (Vec::new(), Scratch::default());
        write_events(&plan(), (0, 1), batch, first_id, false, &mut scratch, &mut events)?;
        Ok(String::from_utf8(events).unwrap())
    }

    #[test]
    fn events_become_a_batch_and_the_batch_becomes_events() {
        let stream = "data: {\"id\":\"a\"}\n\n: ping\n\ndata:{ \"id\":\"b\"}\r\n\r\ndata: [DONE]\n\n";
        let output = batch(stream.as_bytes());
        assert_eq!(output.elements(), b"\x0a\x03\x12\x01a\x0a\x03\x12\x01b");
        assert_eq!((output.count, output.frames.len()), (2, 0));
        let plain = "data: {\"id\":\"a\"}\n\ndata: {\"id\":\"b\"}\n\n";
        assert_eq!(events(output.elements(), None), Ok(plain.into()));
        let numbered = "id: -1\ndata: {\"id\":\"a\"}\n\nid: 0\ndata: {\"id\":\"b\"}\n\n";
        assert_eq!(events(output.elements(), Some(("", -1))), Ok(numbered.into()));
        let prefixed = "id: a.9\ndata: {\"id\":\"a\"}\n\nid: a.10\ndata: {\"id\":\"b\"}\n\n";
        assert_eq!(events(output.elements(), Some(("a.", 9))), Ok(prefixed.into()));
        assert_eq!(events(output.elements(), Some(("", i64::MAX))), Err(Handover::Arguments));
    }

    #[test]
    fn other_fields_of_a_batch_are_no_events() {
        assert_eq!(events(b"\x10\x05\x0a\x00\x1a\x01x", None), Ok("data: {}\n\n".into()));
        for wire in [&b"\x08\x01"[..], b"\x0b", b"\x00\x00", b"\x0a\x05", b"\x15\0\0\0\0"] {
            assert_eq!(events(wire, None), Err(Handover::Wire));
        }
    }

    #[test]
    fn usage_and_finish_reasons_are_observed() {
        let stream = br#"data: {"choices":[{"index":2,"finish_reason":"stop"},{"finish_reason":"n\u0065w"}]}

data: {"usage":{"total_tokens":1},"choices":[{"finish_reason":5,"index":1}]}

data: {"choices":[{"index":-1,"finish_reason":"stop"}],"usage":{"total_tokens":7}}

data: {"usage":null}

"#;
        let output = batch(stream);
        assert_eq!(output.count, 4);
        assert_eq!(output.usage.map(|usage| &output.bytes[usage]), Some(&b"\x10\x07"[..]));
        let reasons: Vec<(i64, &[u8])> =
            output.finish_reasons.iter().map(|(index, reason)| (*index, &**reason)).collect();
        assert_eq!(reasons, [(2, &b"stop"[..]), (0, b"new"), (-1, b"stop")]);
        assert_eq!(output.choices, [2, 0, 1, -1]);
    }

    #[test]
    fn what_is_no_message_stops_a_batch() {
        for (data, form) in [
            (&b"{\"detail\":\"x\"}"[..], Form::Error),
            (b"{\"\\u0065rror\":{}}", Form::Error),
            (b"{\"object\":\"error\",\"choices\":null}", Form::Error),
            (b"{\"object\":\"Error\",\"choices\":[]}", Form::Error),
            (b"{\"choices\":[],\"error\":\"x\"}", Form::Error),
            (b"{\"error\":{\"a\":1},\"choices\":[1],\"choices\":[]}", Form::Error),
            (b"nonsense", Form::Data(Handover::NotJson)),
            (b"[[[[[[[[[[[1]]]]]]]]]]]", Form::Data(Handover::Limit)),
        ] {
            let stream = [b"data: {}\n\nid: 5\ndata: ", data, b"\n\ndata: {}\n\n"].concat();
            let output = batch(&stream);
            assert_eq!((output.elements(), output.count), (&b"\x0a\x00"[..], 1));
            let [frame] = &output.frames[..] else { panic!("{:?}", output.frames) };
            assert_eq!((frame.line, frame.id.as_deref(), frame.form), (4, Some(&b"5"[..]), form));
            if let Form::Data(_) = form {
                assert_eq!(&output.bytes[frame.bytes.clone()], data);
            }
        }
    }

    #[test]
    fn what_has_choices_or_other_types_is_a_message() {
        for data in [
            "{\"choices\":[{}],\"error\":\"x\"}",
            "{\"choices\":[],\"error\":\"\"}",
            "{\"error\":{\"a\":1},\"choices\":[],\"error\":{}}",
            "{\"choices\":[],\"detail\":\"x\",\"message\":\"x\"}",
            "{\"error\":1}",
            "{\"error\":\"x\",\"error\":null}",
            "{\"detail\":{}}",
            "{\"object\":\"x\",\"message\":[]}",
        ] {
            assert_eq!(batch(format!("data: {data}\n\n").as_bytes()).count, 1, "{data}");
        }
    }

    #[test]
    fn events_with_other_names_are_read_if_they_say_what_they_are() {
        for (data, expected) in [
            ("{\"choices\":[]}", None),
            ("{\"choices\":null}", None),
            ("{\"choices\":[],\"detail\":\"x\"}", None),
            ("{\"choices\":[],\"error\":{\"a\":1}}", Some(Form::Error)),
            ("{\"error\":\"x\"}", Some(Form::Error)),
            ("{\"error\":{}}", Some(Form::Data(Handover::Event))),
            ("{\"detail\":\"x\",\"message\":\"x\"}", Some(Form::Data(Handover::Event))),
            ("{}", Some(Form::Data(Handover::Event))),
            ("ping", Some(Form::Data(Handover::NotJson))),
        ] {
            let output = batch(format!("event: x\ndata: {data}\n\n").as_bytes());
            assert_eq!(output.frames.first().map(|frame| frame.form), expected, "{data}");
        }
    }

    #[test]
    fn an_error_event_is_an_error_whatever_its_data_is() {
        for (data, form) in [
            ("{}", Form::Error),
            ("x", Form::ErrorText),
            ("[]", Form::ErrorText),
            (" {\"a\":NaN}", Form::Data(Handover::NotJson)),
        ] {
            let output = batch(format!("event: error\ndata: {data}\n\n").as_bytes());
            assert_eq!(output.frames[0].form, form);
        }
        assert_eq!(batch(b"{\"error\":\"x\"}\n\n").frames[0].form, Form::Unframed);
    }

    #[test]
    fn fields_that_observers_cannot_look_at_are_refused() {
        let plan = plan();
        for (at, number) in [(0, 2), (0, 9), (1, 7), (2, 3), (3, 2)] {
            let mut numbers = NUMBERS;
            numbers[at] = number;
            assert!(Observed::new(&plan, 0, numbers).is_none());
        }
    }
}
