//! Wire bytes to JSON text, members in contract order.

use crate::duplicates::{distinct, has_duplicates, has_duplicates_among};
use crate::handover::{Handover, Outcome};
use crate::number::{is_text, nearest_double, put_double, put_integer};
use crate::plain::{is_ascii, run};
use crate::plan::{Field, Fill, Form, Kind, Member, Members, Message, Place, Plan, bits};
use crate::scan::{Document, Limits, Token, TokenKind, scan_for_copy};
use crate::text::{FALSE, TRUE, copy, copy_from, name_of, put_checked_string, put_start, put_word};
use crate::wire::{EXTRA_TAG, MEMBERS_TAG, NOTE_TAGS, Wire};

/// Bounds on the JSON texts in a message, as in the Python engine.
const DEPTH_MAX: usize = 200;
const VALUES_MAX: usize = 1_000_000;

/// Write a message, with lowerCamelCase names if `camel` is true.
pub fn write(
    plan: &Plan,
    root: usize,
    wire: &[u8],
    camel: bool,
    tape: &mut Vec<Token>,
    out: &mut Vec<u8>,
) -> Outcome {
    tape.clear();
    out.clear();
    out.try_reserve(wire.len() * 2)?;
    let (beside, aside, distinct) = (Vec::new(), Vec::new(), Vec::new());
    Writer { plan, camel, tape, out, beside, aside, distinct, depth: 0 }.object(root, wire)?;
    Ok(())
}

struct Writer<'a> {
    plan: &'a Plan,
    camel: bool,
    tape: &'a mut Vec<Token>,
    out: &'a mut Vec<u8>,
    /// For the open objects: members of the contract that their JsonExtra has too.
    beside: Vec<Beside>,
    /// For the open objects: members that give way to one of JsonExtra in their spelling.
    aside: Vec<Aside>,
    /// For those whose JsonExtra may have duplicate names: the tokens of its distinct members.
    distinct: Vec<(usize, usize)>,
    depth: usize,
}

/// The progress within an object.
struct Progress {
    /// The first member that may come next.
    next: usize,
    /// Members still to be written without a value, and members already written.
    pending: Members,
    written: Members,
}

/// A member of the contract that JsonExtra.members has too.
#[derive(Clone, Copy)]
struct Beside {
    member: usize,
    value: usize,
}

/// A member of the contract whose lowerCamelCase name is in JsonExtra.members: its text under its other name.
struct Aside {
    member: usize,
    text: Vec<u8>,
}

/// The content of a JsonExtra.
struct Extra<'a> {
    nulls: Members,
    empties: Members,
    absents: Members,
    /// The content of the members' text if it can be copied unchanged; otherwise the text and its token.
    plain: &'a [u8],
    text: &'a [u8],
    object: Option<usize>,
    /// Where the distinct members start, if there may be duplicate names.
    distinct: Option<usize>,
    /// Members of the contract among them, and those of which the name to be written is taken: the document had
    /// both spellings.
    beside: Members,
    taken: Members,
}

const NO_EXTRA: Extra = Extra {
    nulls: 0,
    empties: 0,
    absents: 0,
    plain: &[],
    text: &[],
    object: None,
    distinct: None,
    beside: 0,
    taken: 0,
};

impl<'a> Writer<'a> {
    /// Write an object; return the members that it has.
    fn object(&mut self, index: usize, wire: &[u8]) -> Outcome<Members> {
        let plan = self.plan;
        let message = &plan.messages[index];
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Handover::Limit);
        }
        let (start, first_aside) = (self.out.len(), self.aside.len());
        let mut wire = Wire { data: wire };
        let read;
        let extra = if wire.tag(&[EXTRA_TAG]) {
            read = self.extra(message, wire.bytes()?)?;
            &read
        } else {
            &NO_EXTRA
        };
        // The members that are written without a value.
        let pending = extra.nulls
            | (extra.empties & message.repeated)
            | (message.filled & !(extra.absents | extra.beside));
        let mut progress = Progress { next: 0, pending, written: 0 };
        if message.interleaved {
            for (place, data) in in_order(message, wire)? {
                let mut run = Wire { data };
                self.member(message, place, &mut run, extra, &mut progress)?;
                if !run.is_empty() {
                    return Err(Handover::Wire);
                }
            }
        } else {
            while !wire.is_empty() {
                let place = place_of(message, wire.varint()?)?;
                self.member(message, place, &mut wire, extra, &mut progress)?;
            }
        }
        self.notes(message, progress.pending, extra, &mut progress);
        if !extra.plain.is_empty() {
            self.out.push(b',');
            self.out.extend_from_slice(extra.plain);
        } else if let Some(object) = extra.object {
            self.members(message, extra, object, progress.written, first_aside)?;
            self.aside.truncate(first_aside);
            self.tape.truncate(object);
            self.beside.truncate(self.beside.len() - extra.beside.count_ones() as usize);
        }
        // Every member starts with a comma; the brace takes the place of the first.
        match self.out.get_mut(start) {
            Some(first) => *first = b'{',
            None => self.out.push(b'{'),
        }
        self.out.push(b'}');
        self.depth -= 1;
        Ok(progress.written | extra.beside)
    }

    fn extra<'b>(&mut self, message: &Message, data: &'b [u8]) -> Outcome<Extra<'b>> {
        let mut wire = Wire { data };
        let mut extra = NO_EXTRA;
        if wire.tag(&[MEMBERS_TAG]) {
            extra.text = wire.bytes()?;
            if !extra.text.is_empty() {
                self.look_beside(message, &mut extra)?;
            }
        }
        let mut notes = [0; 3];
        for (tag, members) in NOTE_TAGS.into_iter().zip(&mut notes) {
            if wire.tag(&[tag]) {
                *members = noted(message, wire.bytes()?)?;
            }
        }
        [extra.nulls, extra.empties, extra.absents] = notes;
        if wire.is_empty() { Ok(extra) } else { Err(Handover::Wire) }
    }

    /// Scan the members of JsonExtra, and look for those of the contract among them.
    fn look_beside(&mut self, message: &Message, extra: &mut Extra) -> Outcome {
        if let Some(name) = only_name(extra.text)
            && message.names.find(name).is_none()
        {
            extra.plain = inside(extra.text);
            return Ok(());
        }
        let (object, is_compact) = self.scan(extra.text)?;
        if self.tape[object].kind != TokenKind::Object {
            return Err(Handover::Extra);
        }
        extra.object = Some(object);
        let document = Document { text: extra.text, tape: self.tape };
        let mut look = |name: &[u8], value: usize| match message.names.find(name) {
            Some(known) if !known.camel => {
                self.beside.push(Beside { member: known.member as usize, value });
                extra.beside |= 1 << known.member;
            }
            Some(known) if self.camel => extra.taken |= 1 << known.member,
            _ => {}
        };
        if has_duplicates(document, document.names(object)) {
            extra.distinct = Some(self.distinct.len());
            for entry in distinct(document, object, &mut Vec::new()) {
                look(entry.text, entry.value);
                self.distinct.push((entry.name, entry.value));
            }
            return Ok(());
        }
        document.names(object).for_each(|name| look(document.raw(document.tape[name]), name + 1));
        let tokens = object + 1..document.tape.len();
        if is_compact && extra.beside | extra.taken == 0 && !has_duplicates_among(document, tokens) {
            self.tape.truncate(object);
            extra.plain = inside(extra.text);
            extra.object = None;
        }
        Ok(())
    }

    /// Write members without a value, from notes and fills.
    #[inline(always)]
    fn notes(&mut self, message: &Message, noted: Members, extra: &Extra, progress: &mut Progress) {
        for m in bits(noted) {
            let member = &message.members[m];
            let fill = if (extra.empties & message.repeated) >> m & 1 != 0 {
                Fill::Array
            } else if extra.nulls >> m & 1 != 0 {
                Fill::Null
            } else {
                member.fill.unwrap_or(Fill::Null)
            };
            let start = self.out.len();
            let is_taken = extra.taken >> m & 1 != 0;
            put_key(self.out, self.camel && !is_taken, member);
            put_word(fill.word(), self.out);
            if is_taken {
                self.put_aside(m, start);
            }
        }
        progress.written |= noted;
    }

    /// Write a member that has a value, and the notes before it.
    #[inline(always)]
    fn member(
        &mut self,
        message: &Message,
        place: Place,
        wire: &mut Wire,
        extra: &Extra,
        progress: &mut Progress,
    ) -> Outcome {
        let m = place.member as usize;
        if m < progress.next {
            return Err(Handover::Wire);
        }
        let bit: Members = 1 << m;
        let before = progress.pending & (bit - 1);
        if before != 0 {
            self.notes(message, before, extra, progress);
            progress.pending &= !before;
        }
        let member = &message.members[m];
        let field = &member.fields[place.field as usize];
        progress.next = m + 1;
        if (extra.beside | extra.taken) & bit != 0 {
            if !self.member_with_namesakes(member, field, wire, extra, m)? {
                return Ok(());
            }
        } else {
            self.named(self.camel, member, field, wire)?;
        }
        progress.written |= bit;
        progress.pending &= !bit;
        Ok(())
    }

    /// Write the name and the value of a member.
    #[inline(always)]
    fn named(&mut self, camel: bool, member: &Member, field: &Field, wire: &mut Wire) -> Outcome {
        if field.kind == Kind::String && !field.repeated {
            let key = &member.keys[usize::from(camel)];
            put_start(&key.bytes, key.size + 1, self.out);
            return self.string(wire);
        }
        put_key(self.out, camel, member);
        if field.repeated { self.elements(field, wire) } else { self.value(field, wire) }
    }

    /// Write a string whose first quote is already written.
    #[inline(always)]
    fn string(&mut self, wire: &mut Wire) -> Outcome {
        let (whole, size) = wire.start()?;
        if put_checked_string(whole, size, self.out) { Ok(()) } else { Err(Handover::Wire) }
    }

    /// Set aside the text of a member for the position of the one whose spelling it gives way to.
    #[cold]
    fn put_aside(&mut self, member: usize, start: usize) {
        let text = self.out.split_off(start);
        self.aside.push(Aside { member, text });
    }

    /// Write a member of which a name is in JsonExtra too, in either spelling; return whether it was written.
    #[cold]
    fn member_with_namesakes(
        &mut self,
        member: &Member,
        field: &Field,
        wire: &mut Wire,
        extra: &Extra,
        m: usize,
    ) -> Outcome<bool> {
        let (bit, start): (Members, _) = (1 << m, self.out.len());
        let is_taken = extra.taken & bit != 0;
        let camel = self.camel && !is_taken;
        let is_written = if extra.beside & bit != 0 {
            let beside = self.beside.iter().rfind(|beside| beside.member == m).ok_or(Handover::Extra)?;
            self.member_beside(camel, member, field, wire, extra, beside.value)?
        } else {
            self.named(camel, member, field, wire)?;
            true
        };
        if is_taken && is_written {
            self.put_aside(m, start);
        }
        Ok(is_written)
    }

    /// Write a member whose name is in JsonExtra too; return whether it was written.
    fn member_beside(
        &mut self,
        camel: bool,
        member: &Member,
        field: &Field,
        wire: &mut Wire,
        extra: &Extra,
        value: usize,
    ) -> Outcome<bool> {
        let document = Document { text: extra.text, tape: self.tape };
        let token = document.tape[value];
        match field.kind {
            Kind::Enum if !field.repeated => {
                let mut ahead = *wire;
                let number = ahead.varint()?;
                if number == u64::from(self.plan.unlisted) && field.enum_value(number).is_none() {
                    *wire = ahead;
                    return if token.kind.is_string() { Ok(false) } else { Err(Handover::Newer) };
                }
            }
            Kind::Number if !field.repeated => {
                let mut ahead = *wire;
                let double = ahead.double()?;
                let raw = document.raw(token);
                let is_kept = token.kind == TokenKind::Integer
                    || (token.kind == TokenKind::Float && is_text(token.kind, raw));
                if is_kept && double.is_finite() && nearest_double(raw) == double {
                    put_key(self.out, camel, member);
                    copy(Document { text: extra.text, tape: self.tape }, value, self.out);
                    *wire = ahead;
                    return Ok(true);
                }
            }
            // The text may be null or a float, which gives way.
            Kind::TextAny | Kind::Message => return Err(Handover::Extra),
            _ => {}
        }
        self.named(camel, member, field, wire)?;
        Ok(true)
    }

    /// Write the members of JsonExtra, after all others.
    fn members(
        &mut self,
        message: &Message,
        extra: &Extra,
        object: usize,
        written: Members,
        first_aside: usize,
    ) -> Outcome {
        if extra.beside & extra.nulls != 0 {
            return Err(Handover::Extra);
        }
        let document = Document { text: extra.text, tape: self.tape };
        let mut merge = Merge {
            out: self.out,
            camel: self.camel,
            message: (extra.beside | extra.taken != 0).then_some(message),
            document,
            written: written & !extra.taken,
            taken: extra.taken,
            aside: &self.aside[first_aside..],
        };
        if let Some(first) = extra.distinct {
            self.distinct.drain(first..).for_each(|(name, value)| merge.put(name, value));
        } else {
            document.names(object).for_each(|name| merge.put(name, name + 1));
        }
        Ok(())
    }

    /// Scan JSON text in a field of the message; otherwise like `scan_for_copy`.
    fn scan(&mut self, text: &[u8]) -> Outcome<(usize, bool)> {
        let limits = Limits {
            depth: (DEPTH_MAX + 1).saturating_sub(self.depth),
            members: usize::MAX,
            values: VALUES_MAX,
        };
        scan_for_copy(text, self.tape, limits)
    }

    fn text(&mut self, text: &[u8], must_be_object: bool) -> Outcome {
        let (at, is_compact) = self.scan(text)?;
        if must_be_object && self.tape[at].kind != TokenKind::Object {
            return Err(Handover::Extra);
        }
        copy_from(Document { text, tape: self.tape }, at, is_compact, self.out);
        self.tape.truncate(at);
        Ok(())
    }

    /// Write the elements of a repeated field whose tag was read.
    fn elements(&mut self, field: &Field, wire: &mut Wire) -> Outcome {
        self.out.push(b'[');
        self.depth += 1;
        if field.kind.wire_type() == 2 {
            self.value(field, wire)?;
            while wire.tag(&field.tag_bytes) {
                self.out.push(b',');
                self.value(field, wire)?;
            }
        } else {
            let mut packed = Wire { data: wire.bytes()? };
            loop {
                self.scalar(field, &mut packed)?;
                if packed.is_empty() {
                    break;
                }
                self.out.push(b',');
            }
        }
        self.depth -= 1;
        self.out.push(b']');
        Ok(())
    }

    #[inline(always)]
    fn value(&mut self, field: &Field, wire: &mut Wire) -> Outcome {
        match field.kind {
            Kind::String => {
                self.out.push(b'"');
                self.string(wire)
            }
            Kind::TextAny => self.text(wire.bytes()?, false),
            Kind::TextObject => self.text(wire.bytes()?, true),
            Kind::Message => self.message(field.message, wire.bytes()?),
            _ => self.scalar(field, wire),
        }
    }

    #[inline(always)]
    fn scalar(&mut self, field: &Field, wire: &mut Wire) -> Outcome {
        match field.kind {
            Kind::Number => {
                let value = wire.double()?;
                if !value.is_finite() {
                    return Err(Handover::NotFinite);
                }
                put_double(value, self.out);
            }
            Kind::Integer => {
                let value = wire.varint()? as i64;
                if field.bits == 32 && i32::try_from(value).is_err() {
                    return Err(Handover::Wire);
                }
                put_integer(value, self.out);
            }
            Kind::Boolean => {
                put_word(if wire.varint()? == 0 { &FALSE } else { &TRUE }, self.out);
            }
            _ => {
                let text = &field.enum_value(wire.varint()?).ok_or(Handover::Newer)?.text;
                put_start(&text.bytes, text.size, self.out);
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn message(&mut self, index: usize, data: &[u8]) -> Outcome {
        let plan = self.plan;
        let message = &plan.messages[index];
        if message.form == Form::Object {
            self.object(index, data).map(|_| ())
        } else {
            self.array_or_union(message, Wire { data })
        }
    }

    fn array_or_union(&mut self, message: &Message, mut wire: Wire) -> Outcome {
        match &message.item {
            Some(item) => {
                if wire.is_empty() {
                    self.out.extend_from_slice(b"[]");
                } else if wire.tag(&item.tag_bytes) {
                    self.elements(item, &mut wire)?;
                }
                if wire.is_empty() { Ok(()) } else { Err(Handover::Wire) }
            }
            None => self.union(message, wire),
        }
    }

    fn union(&mut self, message: &Message, mut wire: Wire) -> Outcome {
        let tag = wire.varint()?;
        let at = message.alternative_of(tag).ok_or(Handover::Newer)?;
        let field = &message.alternatives[at];
        let start = self.out.len();
        match message.tags.iter().find(|known| known.alternative == at) {
            Some(known) if message.untagged != Some(at) => {
                let written = self.object(field.message, wire.bytes()?)?;
                if written >> known.member & 1 == 0 {
                    // A message that a program made may leave its tag unset.
                    let comma: &[u8] = if self.out[start + 1] == b'}' { b"" } else { b"," };
                    let parts: [&[u8]; 6] =
                        [b"\"", &message.discriminator, b"\":\"", &known.text, b"\"", comma];
                    self.out.splice(start + 1..start + 1, parts.concat());
                }
            }
            _ => self.value(field, &mut wire)?,
        }
        if wire.is_empty() { Ok(()) } else { Err(Handover::Wire) }
    }
}

/// Return the text between the braces of a compact object.
fn inside(object: &[u8]) -> &[u8] {
    &object[1..object.len() - 1]
}

/// Return the name in a compact object of one member, if name and value are strings without escapes: so are most of
/// those in JsonExtra, which need no tokens then.
fn only_name(object: &[u8]) -> Option<&[u8]> {
    let mut seen = 0;
    if !object.starts_with(b"{\"") {
        return None;
    }
    let end = run(object, 2, &mut seen);
    if !object[end..].starts_with(b"\":\"") {
        return None;
    }
    let behind = &object[run(object, end + 3, &mut seen)..];
    (behind == b"\"}" && (is_ascii(seen) || str::from_utf8(object).is_ok())).then(|| &object[2..end])
}

/// Return the position of the field with a tag.
#[inline(always)]
fn place_of(message: &Message, tag: u64) -> Outcome<Place> {
    match message.places.get((tag >> 3) as usize) {
        Some(place) if u64::from(place.tag) == tag && tag != 0 => Ok(*place),
        Some(Place { tag: 1.., .. }) => Err(Handover::Wire),
        _ => Err(Handover::Newer),
    }
}

/// Return the fields of a message in the order of its members, each with the bytes after its tag.
#[cold]
fn in_order<'b>(message: &Message, mut wire: Wire<'b>) -> Outcome<Vec<(Place, &'b [u8])>> {
    let mut runs = Vec::new();
    let mut last = 0;
    while !wire.is_empty() {
        let place = place_of(message, wire.varint()?)?;
        let field = &message.members[place.member as usize].fields[place.field as usize];
        if field.number <= last {
            return Err(Handover::Wire);
        }
        last = field.number;
        let before = wire.data;
        wire.skip(field.tag)?;
        while field.repeated && field.kind.wire_type() == 2 && wire.tag(&field.tag_bytes) {
            wire.skip(field.tag)?;
        }
        runs.push((place, &before[..before.len() - wire.data.len()]));
    }
    runs.sort_by_key(|run| run.0.member);
    Ok(runs)
}

/// Write the name of a member, with the comma before it.
#[inline(always)]
fn put_key(out: &mut Vec<u8>, camel: bool, member: &Member) {
    let key = &member.keys[usize::from(camel)];
    put_start(&key.bytes, key.size, out);
}

/// Writes the members of one JsonExtra.
struct Merge<'a> {
    out: &'a mut Vec<u8>,
    camel: bool,
    /// The message, if members of the contract are among them.
    message: Option<&'a Message>,
    document: Document<'a>,
    /// Members already written: those with their names are left out.
    written: Members,
    /// Members of which the name to be written is taken, and those of them that were put aside.
    taken: Members,
    aside: &'a [Aside],
}

impl Merge<'_> {
    #[inline(always)]
    fn put(&mut self, name: usize, value: usize) {
        match self.message {
            Some(message) => self.put_known(message, name, value),
            None => self.put_as_it_is(name, value),
        }
    }

    fn put_known(&mut self, message: &Message, name: usize, value: usize) {
        let Some(known) = message.names.find(&name_of(self.document, name)) else {
            return self.put_as_it_is(name, value);
        };
        let m = known.member as usize;
        let bit: Members = 1 << m;
        let is_written = self.written & bit != 0;
        if known.camel {
            if let Some(aside) = self.aside.iter().find(|aside| aside.member == m && !is_written) {
                self.out.extend_from_slice(&aside.text);
                self.written |= bit;
            }
            self.put_as_it_is(name, value);
        } else if !is_written {
            put_key(self.out, self.camel && self.taken & bit == 0, &message.members[m]);
            copy(self.document, value, self.out);
            self.written |= bit;
        }
    }

    #[inline(always)]
    fn put_as_it_is(&mut self, name: usize, value: usize) {
        self.out.push(b',');
        copy(self.document, name, self.out);
        self.out.push(b':');
        copy(self.document, value, self.out);
    }
}

/// Return the members of a list of field numbers.
fn noted(message: &Message, data: &[u8]) -> Outcome<Members> {
    let mut wire = Wire { data };
    let mut members = 0;
    while !wire.is_empty() {
        let number = wire.varint()?;
        let member = message.place_of(number).ok_or(Handover::Newer)?.member;
        if u64::from(message.members[member as usize].number) != number {
            return Err(Handover::Newer);
        }
        members |= 1 << member;
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_only_string_is_found_where_no_token_is_needed() {
        for (text, expected) in [
            (r#"{"p":"abc"}"#, Some("p")),
            (r#"{"":""}"#, Some("")),
            (r#"{"é":"an emoji 😀, and more than eight bytes"}"#, Some("é")),
            (r#"{"p":1}"#, None),
            (r#"{"p": "abc"}"#, None),
            (r#"{"p":"a\n"}"#, None),
            (r#"{"\u0070":"a"}"#, None),
            (r#"{"p":"a","q":"b"}"#, None),
            (r#"{"p":"a"}}"#, None),
            (r#"{"p":"a""#, None),
            (r#"{"p":"#, None),
            (r#"{""#, None),
            ("{}", None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(only_name(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
        assert_eq!(only_name(b"{\"p\":\"\xff\"}"), None);
        assert_eq!(only_name(b"{\"\xff\":\"\"}"), None);
    }
}
