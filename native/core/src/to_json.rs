//! Wire bytes to JSON text, members in contract order.

use crate::duplicates::{distinct, has_duplicates, name_of};
use crate::handover::{Handover, Outcome};
use crate::number::{is_text, nearest_double, put_double, put_integer};
use crate::plan::{Field, Fill, Form, Kind, Member, Message, Plan};
use crate::scan::{Document, Limits, Token, TokenKind, scan};
use crate::text::{copy, put_string};
use crate::wire::Wire;

const EXTRA_TAG: &[u8] = &[1 << 3 | 2];
const MEMBERS_TAG: &[u8] = &[1 << 3 | 2];
const NOTE_TAGS: [&[u8]; 3] = [&[2 << 3 | 2], &[3 << 3 | 2], &[4 << 3 | 2]];

/// Bounds on the JSON texts in a message, which are those of the Python engine.
const DEPTH_MAX: usize = 200;
const VALUES_MAX: usize = 1_000_000;

/// Members of an object, a bit each.
type Members = u128;

/// Write a message; `camel` asks for lowerCamelCase names.
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
    out.reserve(wire.len() * 2);
    Writer { plan, camel, tape, out, depth: 0 }.object(root, wire)?;
    Ok(())
}

struct Writer<'a> {
    plan: &'a Plan,
    camel: bool,
    tape: &'a mut Vec<Token>,
    out: &'a mut Vec<u8>,
    depth: usize,
}

/// A member of the contract that JsonExtra.members has too.
#[derive(Clone, Copy)]
struct Beside {
    member: usize,
    value: usize,
}

/// What JsonExtra says of an object.
#[derive(Default)]
struct Extra<'a> {
    nulls: Members,
    empties: Members,
    absents: Members,
    /// The text of the members, the token of the object, and whether its names need a closer look.
    text: &'a [u8],
    object: Option<usize>,
    odd: bool,
    beside: Vec<Beside>,
    has_beside: Members,
}

impl<'a> Writer<'a> {
    /// Write an object; return the members that it has.
    fn object(&mut self, index: usize, wire: &[u8]) -> Outcome<Members> {
        let plan = self.plan;
        let message = &plan.messages[index];
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Handover::Limit);
        }
        let tokens = self.tape.len();
        let mut wire = Wire { data: wire };
        let extra = if wire.tag(EXTRA_TAG) { self.extra(message, wire.bytes()?)? } else { Extra::default() };
        let silent = message.filled.is_empty() && extra.nulls | extra.empties == 0;
        self.out.push(b'{');
        let start = self.out.len();
        let (mut next, mut written) = (0, 0);
        while !wire.is_empty() {
            let tag = wire.varint()?;
            let (m, f) = u32::try_from(tag >> 3)
                .ok()
                .and_then(|number| message.field_of(number))
                .ok_or(Handover::Newer)?;
            let member = &message.members[m];
            let field = &member.fields[f];
            if tag != u64::from(field.tag) || m < next {
                return Err(Handover::Wire);
            }
            if !silent {
                written |= self.notes(message, next..m, &extra, start);
            }
            next = m + 1;
            if self.member(member, m, field, &mut wire, &extra, start)? {
                written |= 1 << m;
            } else {
                written |= self.notes(message, m..next, &extra, start);
            }
        }
        if !silent {
            written |= self.notes(message, next..message.members.len(), &extra, start);
        }
        if let Some(object) = extra.object {
            written |= self.members(message, &extra, object, written, start)?;
        }
        self.out.push(b'}');
        self.tape.truncate(tokens);
        self.depth -= 1;
        Ok(written)
    }

    fn extra<'b>(&mut self, message: &Message, data: &'b [u8]) -> Outcome<Extra<'b>> {
        let mut wire = Wire { data };
        let mut extra = Extra::default();
        if wire.tag(MEMBERS_TAG) {
            extra.text = wire.bytes()?;
            if !extra.text.is_empty() {
                self.look_beside(message, &mut extra)?;
            }
        }
        let mut notes = [0; 3];
        for (tag, members) in NOTE_TAGS.iter().zip(&mut notes) {
            if wire.tag(tag) {
                *members = noted(message, wire.bytes()?)?;
            }
        }
        [extra.nulls, extra.empties, extra.absents] = notes;
        if wire.is_empty() { Ok(extra) } else { Err(Handover::Wire) }
    }

    /// Scan the members of JsonExtra, and look for those of the contract among them.
    fn look_beside(&mut self, message: &Message, extra: &mut Extra) -> Outcome {
        let object = self.scan(extra.text)?;
        if self.tape[object].kind != TokenKind::Object {
            return Err(Handover::Extra);
        }
        extra.object = Some(object);
        let document = Document { text: extra.text, tape: self.tape };
        extra.odd = has_duplicates(document, document.names(object));
        let mut look = |name: &[u8], value: usize| match message.find(name) {
            // In this spelling, it is the odd one of two, or the field could not hold it.
            Some(known) if known.camel && self.camel => Err(Handover::Extra),
            Some(known) if !known.camel => {
                extra.beside.push(Beside { member: known.member, value });
                extra.has_beside |= 1 << known.member;
                Ok(())
            }
            _ => Ok(()),
        };
        if extra.odd {
            distinct(document, object).iter().try_for_each(|entry| look(&entry.text, entry.value))
        } else {
            document.names(object).try_for_each(|name| look(document.raw(document.tape[name]), name + 1))
        }
    }

    #[inline(always)]
    fn key(&mut self, member: &Member, start: usize) {
        if self.out.len() > start {
            self.out.push(b',');
        }
        self.out.extend_from_slice(&member.keys[usize::from(self.camel)]);
    }

    /// Write what notes and fills say of members without a value; return those that were written.
    fn notes(
        &mut self,
        message: &Message,
        range: std::ops::Range<usize>,
        extra: &Extra,
        start: usize,
    ) -> Members {
        let mut written = 0;
        for m in range {
            let member = &message.members[m];
            let bit = 1 << m;
            let text = if extra.empties & bit != 0 && member.fields[0].repeated {
                Fill::Array.text()
            } else if extra.nulls & bit != 0 {
                Fill::Null.text()
            } else if let (Some(fill), 0) = (member.fill, (extra.absents | extra.has_beside) & bit) {
                fill.text()
            } else {
                continue;
            };
            self.key(member, start);
            self.out.extend_from_slice(text);
            written |= bit;
        }
        written
    }

    /// Write a member that has a value; return whether it was written here rather than with JsonExtra.
    #[inline(always)]
    fn member(
        &mut self,
        member: &Member,
        m: usize,
        field: &Field,
        wire: &mut Wire,
        extra: &Extra,
        start: usize,
    ) -> Outcome<bool> {
        if extra.has_beside >> m & 1 != 0 {
            let beside = extra.beside.iter().find(|beside| beside.member == m).ok_or(Handover::Extra)?;
            return self.member_beside(member, field, wire, extra, beside.value, start);
        }
        self.key(member, start);
        if field.repeated {
            self.elements(field, wire)?
        } else {
            self.value(field, wire)?
        }
        Ok(true)
    }

    /// Write a member whose name is in JsonExtra too; return whether it was written.
    #[cold]
    fn member_beside(
        &mut self,
        member: &Member,
        field: &Field,
        wire: &mut Wire,
        extra: &Extra,
        value: usize,
        start: usize,
    ) -> Outcome<bool> {
        let document = Document { text: extra.text, tape: self.tape };
        let token = document.tape[value];
        match field.kind {
            Kind::Enum if !field.repeated => {
                let mut ahead = *wire;
                let number = ahead.varint()?;
                if number == u64::from(self.plan.unlisted) && field.enum_string(number).is_none() {
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
                    self.key(member, start);
                    copy(Document { text: extra.text, tape: self.tape }, value, self.out);
                    *wire = ahead;
                    return Ok(true);
                }
            }
            // What is written may be null or a float, which gives way.
            Kind::TextAny | Kind::Message => return Err(Handover::Extra),
            _ => {}
        }
        self.key(member, start);
        if field.repeated {
            self.elements(field, wire)?
        } else {
            self.value(field, wire)?
        }
        Ok(true)
    }

    /// Write the members of JsonExtra, behind all others; return those of the contract.
    fn members(
        &mut self,
        message: &Message,
        extra: &Extra,
        object: usize,
        written: Members,
        start: usize,
    ) -> Outcome<Members> {
        if extra.has_beside & extra.nulls != 0 {
            return Err(Handover::Extra);
        }
        if !extra.odd {
            let document = Document { text: extra.text, tape: self.tape };
            for name in document.names(object) {
                put_member(self.out, self.camel, message, document, (name, name + 1), written, start);
            }
            return Ok(extra.has_beside);
        }
        let document = Document { text: extra.text, tape: self.tape };
        for entry in distinct(document, object) {
            put_member(self.out, self.camel, message, document, (entry.name, entry.value), written, start);
        }
        Ok(extra.has_beside)
    }

    /// Scan a JSON text that the message carries.
    fn scan(&mut self, text: &[u8]) -> Outcome<usize> {
        str::from_utf8(text).map_err(|_| Handover::Wire)?;
        let limits = Limits {
            depth: (DEPTH_MAX + 1).saturating_sub(self.depth),
            members: usize::MAX,
            values: VALUES_MAX,
        };
        scan(text, self.tape, limits)
    }

    fn text(&mut self, text: &[u8], must_be_object: bool) -> Outcome {
        let at = self.scan(text)?;
        if must_be_object && self.tape[at].kind != TokenKind::Object {
            return Err(Handover::Extra);
        }
        copy(Document { text, tape: self.tape }, at, self.out);
        self.tape.truncate(at);
        Ok(())
    }

    /// Write the elements of a repeated field, whose tag was read.
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
                let text = wire.bytes()?;
                str::from_utf8(text).map_err(|_| Handover::Wire)?;
                put_string(text, self.out);
                Ok(())
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
                let text: &[u8] = if wire.varint()? == 0 { b"false" } else { b"true" };
                self.out.extend_from_slice(text);
            }
            _ => {
                let string = field.enum_string(wire.varint()?).ok_or(Handover::Newer)?;
                put_string(string, self.out);
            }
        }
        Ok(())
    }

    fn message(&mut self, index: usize, data: &[u8]) -> Outcome {
        let plan = self.plan;
        let message = &plan.messages[index];
        let mut wire = Wire { data };
        match (message.form, &message.item) {
            (Form::Array, Some(item)) => {
                if wire.is_empty() {
                    self.out.extend_from_slice(b"[]");
                } else if wire.tag(&item.tag_bytes) {
                    self.elements(item, &mut wire)?;
                }
                if wire.is_empty() { Ok(()) } else { Err(Handover::Wire) }
            }
            (Form::Union, _) => self.union(message, wire),
            _ => self.object(index, data).map(|_| ()),
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

/// Write one member of JsonExtra, unless its field was written.
#[inline(always)]
fn put_member(
    out: &mut Vec<u8>,
    camel: bool,
    message: &Message,
    document: Document,
    (name, value): (usize, usize),
    written: Members,
    start: usize,
) {
    let known = message.find(&name_of(document, name)).filter(|known| !known.camel);
    if known.is_some_and(|known| written >> known.member & 1 != 0) {
        return;
    }
    if out.len() > start {
        out.push(b',');
    }
    if let Some(known) = known {
        out.extend_from_slice(&message.members[known.member].keys[usize::from(camel)]);
    } else {
        copy(document, name, out);
        out.push(b':');
    }
    copy(document, value, out);
}

/// Return the members that a list of field numbers names.
fn noted(message: &Message, data: &[u8]) -> Outcome<Members> {
    let mut wire = Wire { data };
    let mut members = 0;
    while !wire.is_empty() {
        let number = u32::try_from(wire.varint()?).map_err(|_| Handover::Newer)?;
        let (m, _) = message.field_of(number).ok_or(Handover::Newer)?;
        if message.members[m].number != number {
            return Err(Handover::Newer);
        }
        members |= 1 << m;
    }
    Ok(members)
}
