//! Server-sent events: from the bytes of a stream to its events, however the bytes are split.
//!
//! The rules, and the order in which they apply, are those of the Python package's framer, which can continue from
//! any state of this one.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::mem::take;
use std::ops::ControlFlow;

/// A prefix that some editors write, and that is not JSON.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const DONE: &[u8] = b"[DONE]";
const ERROR_EVENT: &[u8] = b"error";
const MESSAGE_EVENT: &[u8] = b"message";
const ERROR_FIELD: &[u8] = b"error:";
const RETRY_DIGITS_MAX: usize = 18;
/// Memory that is kept from one event to the next.
const KEPT_BYTES: usize = 16_384;

/// The content of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Only an id.
    Nothing,
    Data(&'a [u8]),
    /// Lines without a field name, which may be an error body.
    Unframed(&'a [u8]),
    /// `[DONE]`.
    Done,
    /// Data, although `[DONE]` came before.
    AfterDone,
    /// More bytes than an event may have.
    TooLong,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Line of the stream, from 1, where its data began.
    pub line: u64,
    pub id: Option<&'a [u8]>,
    pub name: Option<&'a [u8]>,
    pub content: Content<'a>,
}

impl Event<'_> {
    /// Return whether its name says that its data is an error body.
    pub fn is_error(&self) -> bool {
        self.name == Some(ERROR_EVENT)
    }

    /// Return whether its name says that it may not be part of the answer.
    pub fn is_other(&self) -> bool {
        self.name.is_some_and(|name| name != ERROR_EVENT && name != MESSAGE_EVENT)
    }
}

/// The state of a stream between two pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The incomplete line; where its event is dropped, one byte shows that the line is not blank.
    pub partial: Vec<u8>,
    pub after_carriage_return: bool,
    pub line_count: u64,
    pub is_done: bool,
    /// Value of the last valid `retry` line, in milliseconds.
    pub retry_ms: Option<u64>,
    /// Whether the current event is dropped.
    pub skipping: bool,
    /// Bytes of the current event's lines, without comments.
    pub event_bytes: usize,
    pub has_data: bool,
    pub data: Vec<u8>,
    pub data_line: u64,
    pub id: Option<Vec<u8>>,
    pub name: Option<Vec<u8>>,
    /// Whether the data is that of lines without a field name.
    pub is_unframed: bool,
}

impl State {
    /// Return the number of buffered bytes of the current event.
    pub fn held_bytes(&self) -> usize {
        self.partial.len() + self.data.len()
    }

    #[inline]
    fn put_data(&mut self, value: &[u8]) {
        if self.has_data {
            self.data.push(b'\n');
        } else {
            self.has_data = true;
            self.data_line = self.line_count;
        }
        self.data.extend_from_slice(value);
    }
}

/// Finds the events in the bytes of a stream.
pub struct Framer {
    pub state: State,
    /// Bytes of the last piece that were consumed, up to the last complete line.
    pub taken: usize,
    buffer_bytes_max: usize,
}

/// Return the position of the first line feed or carriage return.
#[inline]
fn line_end(text: &[u8]) -> Option<usize> {
    const WIDTH: usize = 32;
    let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
    let (chunks, rest) = text.as_chunks::<WIDTH>();
    for (count, chunk) in chunks.iter().enumerate() {
        // Testing all bytes takes a few vector instructions.
        if chunk.iter().fold(false, |found, byte| found | is_end(byte)) {
            return chunk.iter().position(is_end).map(|at| count * WIDTH + at);
        }
    }
    rest.iter().position(is_end).map(|at| chunks.len() * WIDTH + at)
}

/// Return a text without the whitespace around it, like Python's bytes.strip().
fn stripped(mut text: &[u8]) -> &[u8] {
    let is_space = |byte: u8| byte == b' ' || (b'\t'..=b'\r').contains(&byte);
    while let Some((&first, rest)) = text.split_first()
        && is_space(first)
    {
        text = rest;
    }
    while let Some((&last, rest)) = text.split_last()
        && is_space(last)
    {
        text = rest;
    }
    text
}

impl Framer {
    /// Return a framer for one stream, with a bound on the bytes of an event.
    pub fn new(buffer_bytes_max: usize) -> Framer {
        Framer { state: State::default(), taken: 0, buffer_bytes_max }
    }

    /// Consume the next bytes of the stream, and call `give` with each event that they complete, until it breaks.
    pub fn take(&mut self, piece: &[u8], give: &mut impl FnMut(Event) -> ControlFlow<()>) {
        self.taken = 0;
        if let (true, Some(&first)) = (self.state.after_carriage_return, piece.first()) {
            // A line feed here belongs to a CRLF that was split: the CR has ended the line.
            self.taken = usize::from(first == b'\n');
            self.state.after_carriage_return = false;
        }
        while self.taken < piece.len() {
            let rest = &piece[self.taken..];
            let Some(size) = line_end(rest) else {
                let _ = self.take_partial(rest, give);
                self.taken = piece.len();
                return;
            };
            let flow = self.take_end(&rest[..size], give);
            let is_carriage_return = rest[size] == b'\r';
            let is_pair = is_carriage_return && rest.get(size + 1) == Some(&b'\n');
            self.taken += size + 1 + usize::from(is_pair);
            self.state.after_carriage_return = is_carriage_return && rest.len() == size + 1;
            if flow.is_break() {
                return;
            }
        }
    }

    /// Consume the bytes of an incomplete line.
    fn take_partial(
        &mut self,
        rest: &[u8],
        give: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let state = &mut self.state;
        let mut flow = ControlFlow::Continue(());
        if !state.skipping && state.event_bytes + state.partial.len() + rest.len() > self.buffer_bytes_max {
            flow = self.skip_event(self.state.line_count + 1, give);
        }
        let partial = &mut self.state.partial;
        if !self.state.skipping {
            partial.extend_from_slice(rest);
        } else if partial.is_empty() {
            partial.extend(rest.first());
        } else {
            partial.truncate(1);
            partial.shrink_to(KEPT_BYTES);
        }
        flow
    }

    /// Consume the last bytes of a line.
    #[inline]
    fn take_end(&mut self, end: &[u8], give: &mut impl FnMut(Event) -> ControlFlow<()>) -> ControlFlow<()> {
        if self.state.partial.is_empty() {
            return self.take_line(end, give);
        }
        let mut line = take(&mut self.state.partial);
        line.extend_from_slice(end);
        let flow = self.take_line(&line, give);
        line.clear();
        line.shrink_to(KEPT_BYTES);
        self.state.partial = line;
        flow
    }

    #[inline]
    fn take_line(&mut self, line: &[u8], give: &mut impl FnMut(Event) -> ControlFlow<()>) -> ControlFlow<()> {
        self.state.line_count += 1;
        if line.is_empty() {
            return self.end_event(give);
        }
        if self.state.skipping {
            return ControlFlow::Continue(());
        }
        if self.state.event_bytes + line.len() > self.buffer_bytes_max {
            return self.skip_event(self.state.line_count, give);
        }
        let is_marked = self.state.line_count == 1 && line.starts_with(BYTE_ORDER_MARK);
        let line = if is_marked { &line[BYTE_ORDER_MARK.len()..] } else { line };
        if line.first().is_some_and(|first| *first != b':') {
            let flow = self.take_field(line, give);
            self.state.event_bytes += line.len();
            return flow;
        }
        ControlFlow::Continue(())
    }

    #[inline]
    fn take_field(
        &mut self,
        line: &[u8],
        give: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        if name == b"data" && !self.state.is_unframed {
            self.state.put_data(value);
            return ControlFlow::Continue(());
        }
        if !matches!(name, b"data" | b"event" | b"id" | b"retry") {
            return self.take_unframed(line, give);
        }
        let flow = if self.state.is_unframed { self.end_event(give) } else { ControlFlow::Continue(()) };
        let state = &mut self.state;
        match name {
            b"data" => state.put_data(value),
            b"event" => state.name = (!value.is_empty()).then(|| value.to_vec()),
            b"id" if !value.contains(&0) => state.id = Some(value.to_vec()),
            b"retry" if !value.is_empty() && value.len() <= RETRY_DIGITS_MAX => {
                let digits = str::from_utf8(value).ok().filter(|_| value.iter().all(u8::is_ascii_digit));
                state.retry_ms = digits.and_then(|digits| digits.parse().ok()).or(state.retry_ms);
            }
            _ => {}
        }
        flow
    }

    /// Consume a line without a field of the standard, as some servers write errors into a stream.
    ///
    /// These are llama.cpp's `error:` followed by a body, or only a body, which may have several lines.
    #[cold]
    fn take_unframed(
        &mut self,
        line: &[u8],
        give: &mut impl FnMut(Event) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let body = line.strip_prefix(ERROR_FIELD).map(|text| text.strip_prefix(b" ").unwrap_or(text));
        let body = body.filter(|body| !body.is_empty());
        // An object after a complete one is another; inside one, it follows a comma or a colon.
        let begins = body.is_some()
            || (line.starts_with(b"{") && (!self.state.is_unframed || self.state.data.ends_with(b"}")));
        let mut flow = ControlFlow::Continue(());
        if begins {
            if self.state.has_data {
                flow = self.end_event(give);
            }
            self.state.is_unframed = true;
            if body.is_some() {
                self.state.name = Some(ERROR_EVENT.to_vec());
            }
        }
        if self.state.is_unframed {
            self.state.put_data(body.unwrap_or(line));
        }
        flow
    }

    /// Call `give` with the event of the lines since the last blank one, if they are one.
    #[inline]
    fn end_event(&mut self, give: &mut impl FnMut(Event) -> ControlFlow<()>) -> ControlFlow<()> {
        let mut flow = ControlFlow::Continue(());
        let State { has_data, data, data_line, id, name, is_done, skipping, is_unframed, .. } =
            &mut self.state;
        if !*skipping && (*has_data || id.is_some()) {
            let (id, name) = (id.as_deref(), name.as_deref());
            let inside = stripped(data);
            let mut event = Event { line: *data_line, id, name, content: Content::Nothing };
            event.content = if !*has_data || (inside.is_empty() && (*is_done || name != Some(ERROR_EVENT))) {
                Content::Nothing
            } else if *is_done {
                let is_part = !*is_unframed && !event.is_other() && inside != DONE;
                if is_part { Content::AfterDone } else { Content::Nothing }
            } else if inside == DONE {
                *is_done = true;
                Content::Done
            } else if *is_unframed {
                Content::Unframed(data)
            } else {
                Content::Data(data)
            };
            if event.content != Content::Nothing || id.is_some() {
                flow = give(event);
            }
        }
        self.begin_event();
        flow
    }

    #[inline]
    fn begin_event(&mut self) {
        let state = &mut self.state;
        state.skipping = false;
        state.event_bytes = 0;
        state.has_data = false;
        state.data.clear();
        state.data.shrink_to(KEPT_BYTES);
        state.data_line = 0;
        state.id = None;
        state.name = None;
        state.is_unframed = false;
    }

    /// Report an event that is too long, and drop it up to the next blank line.
    #[cold]
    fn skip_event(&mut self, line: u64, give: &mut impl FnMut(Event) -> ControlFlow<()>) -> ControlFlow<()> {
        let line = if self.state.has_data { self.state.data_line } else { line };
        self.begin_event();
        self.state.skipping = true;
        give(Event { line, id: None, name: None, content: Content::TooLong })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Return all events of a stream in pieces, each as text, and the state at the end.
    fn framed(pieces: &[&[u8]], buffer_bytes_max: usize) -> (Vec<String>, State) {
        let mut framer = Framer::new(buffer_bytes_max);
        let mut events = Vec::new();
        for piece in pieces {
            framer.take(piece, &mut |event| {
                events.push(text_of(event));
                ControlFlow::Continue(())
            });
            assert_eq!(framer.taken, piece.len());
        }
        (events, framer.state)
    }

    fn text_of(event: Event) -> String {
        let text = |value: Option<&[u8]>| value.map(|value| String::from_utf8_lossy(value).into_owned());
        let content = match event.content {
            Content::Data(data) => String::from_utf8_lossy(data).into_owned(),
            Content::Unframed(data) => format!("<{}>", String::from_utf8_lossy(data)),
            other => format!("{other:?}"),
        };
        format!("{} {:?} {:?} {content}", event.line, text(event.id), text(event.name))
    }

    const STREAM: &[u8] =
        b"\xef\xbb\xbf: hi\n\ndata: {\"a\":1}\n\nid: 7\r\nevent:x\r\ndata:{\r\ndata: }\r\n\r\n\
        retry: 15\rid\r\rdata: 123456789012345678901234567890\nid: 9\n\ndata\n\nfoo: bar\ndata:  [DONE] \n\n\
        data: \n\nevent: error\ndata\n\ndata: x\n\nda";

    #[test]
    fn events_are_those_of_the_standard() {
        let (events, state) = framed(&[STREAM], 30);
        assert_eq!(
            events,
            [
                "3 None None {\"a\":1}",
                "7 Some(\"7\") Some(\"x\") {\n}",
                "0 Some(\"\") None Nothing",
                "13 None None TooLong",
                "19 None None Done",
                "26 None None AfterDone",
            ]
        );
        assert_eq!((state.partial.as_slice(), state.line_count, state.retry_ms), (&b"da"[..], 27, Some(15)));
        assert!(state.is_done);
    }

    const UNFRAMED: &[u8] =
        b"\xef\xbb\xbf{\"a\":\n{ \"b\": 1}\n: x\n}\n{}\r\ndata: c\nerror: {}\n:\n}\rid: 7\n\
        foo\n{\nfoo: bar\n}\n\nerror:\nerror\nfoo\n\nevent: x\n{}\nerror:y\ndata: d\n\ndata: [DONE]\n\n{}\n\n\
        data: [DONE]\n\nevent: ping\ndata: x\n\nevent: message\ndata: x\n\n{";

    #[test]
    fn lines_without_a_field_are_events_of_their_own() {
        let (events, state) = framed(&[UNFRAMED], 100);
        assert_eq!(
            events,
            [
                "1 None None <{\"a\":\n{ \"b\": 1}\n}>",
                "5 None None <{}>",
                "6 None None c",
                "7 None Some(\"error\") <{}\n}>",
                "12 Some(\"7\") None <{\nfoo: bar\n}>",
                "21 None Some(\"x\") <{}>",
                "22 None Some(\"error\") <y>",
                "23 None None d",
                "25 None None Done",
                "35 None Some(\"message\") AfterDone",
            ]
        );
        assert_eq!(state.partial, b"{");
    }

    #[test]
    fn any_cut_gives_the_same() {
        for (stream, buffer_bytes_max) in
            [STREAM, UNFRAMED].into_iter().flat_map(|stream| [1, 12, 1_000].map(|max| (stream, max)))
        {
            let whole = framed(&[stream], buffer_bytes_max);
            let single: Vec<&[u8]> = stream.chunks(1).collect();
            assert_eq!(framed(&single, buffer_bytes_max), whole);
            for first in 0..stream.len() {
                for second in first..stream.len() {
                    let pieces = [&stream[..first], &stream[first..second], &stream[second..]];
                    assert_eq!(framed(&pieces, buffer_bytes_max), whole);
                }
            }
        }
    }

    #[test]
    fn a_framer_that_was_stopped_goes_on_behind_the_event() {
        for stream in [STREAM, UNFRAMED] {
            let whole = framed(&[stream], 30);
            let mut framer = Framer::new(30);
            let mut events = Vec::new();
            let mut at = 0;
            while at < stream.len() {
                framer.take(&stream[at..], &mut |event| {
                    events.push(text_of(event));
                    ControlFlow::Break(())
                });
                at += framer.taken;
            }
            assert_eq!((events, framer.state), whole);
        }
    }

    #[test]
    fn what_is_held_of_an_endless_event_is_bounded() {
        let mut framer = Framer::new(100);
        let mut notices = 0;
        for piece in [&b"data: xxxxxxxx"[..], b"data: xxxx\n"] {
            for _ in 0..1_000 {
                framer.take(piece, &mut |event| {
                    notices += usize::from(event.content == Content::TooLong);
                    ControlFlow::Continue(())
                });
                assert!(framer.state.partial.len() + framer.state.data.len() <= 100);
            }
        }
        assert_eq!(notices, 1);
    }

    #[test]
    fn memory_of_a_long_event_is_given_back() {
        let mut framer = Framer::new(1 << 20);
        for piece in [&[b'x'; 100_000][..], b"\n\ndata:", &[b'x'; 100_000], b"\n", b"\n"] {
            framer.take(piece, &mut |_| ControlFlow::Continue(()));
        }
        assert!(framer.state.partial.capacity().max(framer.state.data.capacity()) <= KEPT_BYTES);
    }

    #[test]
    fn a_retry_is_digits_only() {
        for (value, expected) in [
            ("", None),
            ("+1", None),
            ("1.5", None),
            ("0", Some(0)),
            ("999999999999999999", Some(10u64.pow(18) - 1)),
        ] {
            assert_eq!(framed(&[format!("retry:{value}\n").as_bytes()], 100).1.retry_ms, expected);
        }
        assert_eq!(framed(&[b"retry: 5\nretry: x\nretry: 1234567890123456789\n"], 100).1.retry_ms, Some(5));
    }

    #[test]
    fn line_ends_are_found_anywhere() {
        for size in 0..100 {
            for end in [b'\n', b'\r'] {
                let mut text = vec![b'x'; size];
                assert_eq!(line_end(&text), None);
                text.extend([end, b'\n', b'x']);
                assert_eq!(line_end(&text), Some(size));
            }
        }
    }
}
