//! Unpacks plans.
//!
//! The packed form: little-endian 32-bit integers, and texts as their length and bytes, in the order in which
//! they are read below. The Python package packs them.

use crate::guess::Vocabulary;
use crate::plan::{
    Certain, EnumValue, Field, Fill, Form, Kind, Member, Members, Message, NO_MEMBER, Names, Padded, Place,
    Plan, Tag, sure_classes,
};
use crate::wire::put_varint;

/// Version of the packed form and of the functions of the extension.
pub const INTERFACE: u32 = 9;

/// Bounds on plans for this engine; beyond them, only the Python engine works.
pub const MEMBERS_MAX: usize = Members::BITS as usize;
pub const FIELD_NUMBER_MAX: u32 = 4_096;

/// What is wrong with packed plans.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

type Read<T> = Result<T, Malformed>;

struct Input<'a> {
    data: &'a [u8],
}

impl<'a> Input<'a> {
    fn integer(&mut self) -> Read<u32> {
        let (first, rest) = self.data.split_first_chunk().ok_or(Malformed("the plans end early"))?;
        self.data = rest;
        Ok(u32::from_le_bytes(*first))
    }

    fn size(&mut self) -> Read<usize> {
        let size = self.integer()? as usize;
        // Every element takes at least a byte: an invalid size must not allocate memory.
        if size > self.data.len() { Err(Malformed("a size is too large")) } else { Ok(size) }
    }

    fn text(&mut self) -> Read<&'a [u8]> {
        let size = self.size()?;
        let (text, rest) = self.data.split_at(size);
        self.data = rest;
        Ok(text)
    }

    fn optional(&mut self) -> Read<Option<usize>> {
        Ok((self.integer()? as usize).checked_sub(1))
    }

    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        (0..self.size()?).map(|_| read(self)).collect()
    }
}

/// Unpack all plans.
pub fn unpack(data: &[u8]) -> Read<Plan> {
    let mut input = Input { data };
    if input.integer()? != INTERFACE {
        return Err(Malformed("the plans are of another version"));
    }
    let unlisted = input.integer()?;
    let mut messages = input.list(message)?;
    check(&messages)?;
    for at in 0..messages.len() {
        let members = tag_members(&messages[at], &messages)?;
        for (tag, member) in messages[at].tags.iter_mut().zip(members) {
            tag.member = member;
        }
        let certain = Certain::new(&messages[at].alternatives, &messages);
        messages[at].certain = certain;
        for m in 0..messages[at].members.len() {
            let certain = Certain::new(&messages[at].members[m].fields, &messages);
            messages[at].members[m].certain = certain;
        }
        let sure: Vec<u16> = fields(&messages[at]).map(|field| sure_classes(field, &messages)).collect();
        fields_mut(&mut messages[at]).zip(sure).for_each(|(field, sure)| field.sure = sure);
    }
    let vocabulary =
        Vocabulary::new(messages.iter().flat_map(|message| message.names.all()).map(|(name, _)| name));
    for message in &mut messages {
        message.named = vec![NO_MEMBER; vocabulary.count()];
        for (name, member) in message.names.all() {
            message.named[vocabulary.number(name)] = member as u8;
        }
    }
    Ok(Plan { messages, vocabulary, unlisted })
}

fn message(input: &mut Input) -> Read<Message> {
    let form = match input.integer()? {
        0 => Form::Object,
        1 => Form::Array,
        2 => Form::Union,
        _ => return Err(Malformed("an unknown form")),
    };
    let mut message = Message { form, ..Message::default() };
    let members = input.list(member)?;
    message.item = input.list(field)?.pop();
    message.alternatives = input.list(field)?;
    message.discriminator = input.text()?.into();
    message.tags = input.list(|input| {
        Ok(Tag { text: input.text()?.into(), alternative: input.integer()? as usize, member: 0 })
    })?;
    message.untagged = input.optional()?;
    message.unknown = input.optional()?;
    add_members(&mut message, members)?;
    Ok(message)
}

type Named<'a> = (&'a [u8], &'a [u8], Member);

fn member<'a>(input: &mut Input<'a>) -> Read<Named<'a>> {
    let (name, camel) = (input.text()?, input.text()?);
    let number = input.integer()?;
    let flags = input.integer()?;
    let fill = match input.integer()? {
        0 => None,
        1 => Some(Fill::Null),
        2 => Some(Fill::Array),
        3 => Some(Fill::Object),
        _ => return Err(Malformed("an unknown fill")),
    };
    let fields = input.list(field)?;
    let keys = [Padded::key(name), Padded::key(camel)];
    if fields.is_empty() {
        return Err(Malformed("a member without fields"));
    }
    let (required, nullable) = (flags & 1 != 0, flags & 2 != 0);
    let member = Member { number, required, nullable, fill, fields, certain: Certain::default(), keys };
    Ok((name, camel, member))
}

fn field(input: &mut Input) -> Read<Field> {
    let number = input.integer()?;
    let kind = match input.integer()? {
        0 => Kind::String,
        1 => Kind::Integer,
        2 => Kind::Number,
        3 => Kind::Boolean,
        4 => Kind::Enum,
        5 => Kind::Message,
        6 => Kind::TextAny,
        7 => Kind::TextObject,
        _ => return Err(Malformed("an unknown kind")),
    };
    let repeated = input.integer()? != 0;
    let message = input.integer()? as usize;
    let bits = input.integer()?;
    let constant = input.list(|input| Ok(input.text()?.into()))?.pop();
    let enum_values = input.list(|input| Ok(EnumValue::new(input.text()?, input.integer()?)))?;
    if number == 0 || number > FIELD_NUMBER_MAX {
        return Err(Malformed("a field number out of range"));
    }
    let is_packed = repeated && kind.wire_type() != 2;
    let tag = number << 3 | if is_packed { 2 } else { kind.wire_type() };
    let mut tag_bytes = Vec::new();
    put_varint(&mut tag_bytes, u64::from(tag));
    let tag_bytes = tag_bytes.into_boxed_slice();
    Ok(Field { number, kind, repeated, message, bits, constant, enum_values, tag, tag_bytes, sure: 0 })
}

fn add_members(message: &mut Message, members: Vec<Named>) -> Read<()> {
    if members.len() > MEMBERS_MAX {
        return Err(Malformed("a message with too many members"));
    }
    let mut names = Vec::new();
    let mut highest = 0;
    for (at, (name, camel, member)) in members.into_iter().enumerate() {
        names.push((name, at as u16, false));
        if camel != name {
            names.push((camel, at as u16, true));
        }
        message.required |= Members::from(member.required) << at;
        message.filled |= Members::from(member.fill.is_some()) << at;
        message.repeated |= Members::from(member.fields[0].repeated) << at;
        message.interleaved |= member.fields.iter().any(|field| field.number < highest);
        for (position, field) in member.fields.iter().enumerate() {
            let number = field.number as usize;
            highest = highest.max(field.number);
            if message.places.len() <= number {
                message.places.resize(number + 1, Place::default());
            }
            message.places[number] = Place { tag: field.tag, member: at as u16, field: position as u16 };
        }
        message.members.push(member);
    }
    message.names = Names::new(&names);
    Ok(())
}

fn fields(message: &Message) -> impl Iterator<Item = &Field> {
    let fields = message.members.iter().flat_map(|member| &member.fields);
    fields.chain(&message.item).chain(&message.alternatives)
}

fn fields_mut(message: &mut Message) -> impl Iterator<Item = &mut Field> {
    let fields = message.members.iter_mut().flat_map(|member| &mut member.fields);
    fields.chain(&mut message.item).chain(&mut message.alternatives)
}

/// Check that every index is valid, so that conversions need not.
fn check(messages: &[Message]) -> Read<()> {
    for message in messages {
        for field in fields(message) {
            if field.message >= messages.len() {
                return Err(Malformed("a field of an unknown message"));
            }
        }
        let is_array = message.form == Form::Array;
        let tags = message.tags.iter().map(|tag| Some(tag.alternative));
        let mut alternatives = tags.chain([message.untagged, message.unknown]).flatten();
        if is_array != message.item.is_some() || alternatives.any(|at| at >= message.alternatives.len()) {
            return Err(Malformed("a message whose parts do not fit its form"));
        }
    }
    Ok(())
}

fn tag_members(union: &Message, messages: &[Message]) -> Read<Vec<usize>> {
    let member = |tag: &Tag| {
        let held = &messages[union.alternatives[tag.alternative].message];
        let name = held.names.find(&union.discriminator);
        match name.map(|name| (name.member as usize, &held.members[name.member as usize].keys)) {
            Some((member, [snake, camel])) if snake == camel => Ok(member),
            _ => Err(Malformed("a tag that is no member under one name")),
        }
    };
    union.tags.iter().map(member).collect()
}
