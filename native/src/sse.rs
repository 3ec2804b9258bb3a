//! The reader of one stream as a Python object.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mistralwire_core::Handover;
use mistralwire_core::sse::{Event, Framer};
use mistralwire_core::stream::{BROKEN, Form, Frame, Output, Rules};
use pyo3::exceptions::{PyIndexError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};

use crate::engine::{DETACHED_BYTES, Engine, KEPT_BYTES, SCRATCH, bytes_object};

// Taken while Python objects are created from it: the garbage collector may run a program's code meanwhile.
thread_local!(static OUTPUT: RefCell<Output> = RefCell::default());

/// Line, id, name, bytes and form of an event.
type FrameObject<'py> =
    (u64, Option<Bound<'py, PyString>>, Option<Bound<'py, PyString>>, Option<Bound<'py, PyBytes>>, u8);

/// Elements, their number, the last usage, finish reasons, whether `[DONE]` came, what interrupted the batch, and
/// events in place of the elements.
type BatchObject<'py> = (
    Bound<'py, PyBytes>,
    usize,
    Option<Bound<'py, PyBytes>>,
    Bound<'py, PyTuple>,
    bool,
    Option<FrameObject<'py>>,
    Option<Bound<'py, PyBytes>>,
);

/// The state of a framer, in the order of its fields.
type StateObject<'py> = (
    Bound<'py, PyBytes>,
    bool,
    u64,
    bool,
    Option<u64>,
    bool,
    usize,
    Option<Bound<'py, PyBytes>>,
    u64,
    Option<Bound<'py, PyString>>,
    Option<Bound<'py, PyString>>,
    bool,
);

/// Bound on the recorded choices of a stream; one more is recorded, which shows that there are more.
const CHOICES_MAX: usize = 1024;

/// Reads one stream of server-sent events.
#[pyclass(module = "mistralwire_native")]
pub struct SseReader {
    engine: Py<Engine>,
    rules: Rules,
    /// Index of the message in the newest contract, by which events are written.
    newest: usize,
    framer: Framer,
    choices: BTreeSet<i64>,
    ended: BTreeSet<i64>,
}

#[pymethods]
impl SseReader {
    /// Consume the next bytes; return the events that they complete.
    fn frames<'py>(slf: &Bound<'py, Self>, data: &Bound<'py, PyBytes>) -> PyResult<Vec<FrameObject<'py>>> {
        let (py, mut this) = (slf.py(), slf.try_borrow_mut().map_err(in_use)?);
        let mut output = OUTPUT.take();
        let is_broken = this.run(py, data.as_bytes(), &mut output, |engine, rules, output, event| {
            SCRATCH.with_borrow_mut(|scratch| {
                output.add_frame(engine.plan(), rules, event, scratch);
                scratch.shrink(KEPT_BYTES);
            });
            ControlFlow::Continue(())
        });
        let frames = output.frames.iter().map(|frame| frame_object(py, &output, frame));
        let mut frames = frames.collect::<PyResult<Vec<_>>>()?;
        if is_broken {
            frames.push((0, None, None, None, BROKEN));
        }
        this.note_choices(&output);
        keep(output);
        Ok(frames)
    }

    /// Consume the next bytes from an offset on, up to the first event that is not a message; return the batch.
    ///
    /// With a first id, a batch that was not interrupted has events instead of its elements, with ids counted
    /// from there, unless one of them has no JSON form, which the Python engine reports. If `is_chunked`,
    /// they are framed as one chunk of HTTP's chunked coding.
    #[pyo3(signature = (data, start, first_id=None, is_chunked=false, /))]
    fn batch<'py>(
        slf: &Bound<'py, Self>,
        data: &Bound<'py, PyBytes>,
        start: usize,
        first_id: Option<Bound<'py, PyAny>>,
        is_chunked: bool,
    ) -> PyResult<BatchObject<'py>> {
        // Larger ones fall back to the Python engine.
        let first_id = first_id.and_then(|id| id.extract::<i64>().ok());
        let (py, mut this) = (slf.py(), slf.try_borrow_mut().map_err(in_use)?);
        let piece = data.as_bytes().get(start..).ok_or_else(|| PyIndexError::new_err("start"))?;
        let mut output = OUTPUT.take();
        let is_broken = this.run(py, piece, &mut output, |engine, rules, output, event| {
            SCRATCH.with_borrow_mut(|scratch| {
                let flow = output.add_element(engine.plan(), rules, event, scratch);
                scratch.shrink(KEPT_BYTES);
                flow
            })
        });
        let stop = match output.frames.first() {
            Some(frame) => Some(frame_object(py, &output, frame)?),
            None => is_broken.then_some((0, None, None, None, BROKEN)),
        };
        let usage = output.usage.clone().map(|usage| bytes_object(py, &output.bytes[usage])).transpose()?;
        let reasons = if output.finish_reasons.is_empty() {
            PyTuple::empty(py)
        } else {
            let reasons = output.finish_reasons.iter();
            let texts = reasons.map(|(index, reason)| Ok((*index, PyString::from_bytes(py, reason)?)));
            PyTuple::new(py, texts.collect::<PyResult<Vec<_>>>()?)?
        };
        this.note_choices(&output);
        let events = match first_id {
            Some(_) if stop.is_none() => this.events(py, &output, first_id, is_chunked)?,
            _ => None,
        };
        let elements = bytes_object(py, if events.is_none() { output.elements() } else { b"" })?;
        let batch = (elements, output.count, usage, reasons, this.framer.state.is_done, stop, events);
        keep(output);
        Ok(batch)
    }

    /// Bytes of the last piece that were consumed: all of them, unless an event interrupted a batch.
    #[getter]
    fn taken(slf: &Bound<'_, Self>) -> PyResult<usize> {
        Ok(slf.try_borrow().map_err(in_use)?.framer.taken)
    }

    /// Indexes of the choices in all messages, and of those with a finish reason, each up to a bound.
    #[getter]
    fn choices(slf: &Bound<'_, Self>) -> PyResult<(Vec<i64>, Vec<i64>)> {
        let this = slf.try_borrow().map_err(in_use)?;
        Ok((this.choices.iter().copied().collect(), this.ended.iter().copied().collect()))
    }

    /// Value of the last valid `retry` line, in milliseconds.
    #[getter]
    fn retry_ms(slf: &Bound<'_, Self>) -> PyResult<Option<u64>> {
        Ok(slf.try_borrow().map_err(in_use)?.framer.state.retry_ms)
    }

    /// Return the state of the stream, from which the Python engine continues.
    fn state<'py>(slf: &Bound<'py, Self>) -> PyResult<StateObject<'py>> {
        let (py, this) = (slf.py(), slf.try_borrow().map_err(in_use)?);
        let state = &this.framer.state;
        Ok((
            bytes_object(py, &state.partial)?,
            state.after_carriage_return,
            state.line_count,
            state.is_done,
            state.retry_ms,
            state.skipping,
            state.event_bytes,
            state.has_data.then(|| bytes_object(py, &state.data)).transpose()?,
            state.data_line,
            string(py, state.id.as_deref())?,
            string(py, state.name.as_deref())?,
            state.is_unframed,
        ))
    }
}

impl SseReader {
    pub fn new(engine: Py<Engine>, rules: Rules, newest: usize, buffer_bytes_max: usize) -> SseReader {
        let (choices, ended) = Default::default();
        SseReader { engine, rules, newest, framer: Framer::new(buffer_bytes_max), choices, ended }
    }

    /// Record the choices of a piece, and which of them have ended.
    fn note_choices(&mut self, output: &Output) {
        let reasons = output.finish_reasons.iter();
        let ended = reasons.filter(|(_, reason)| !reason.is_empty()).map(|(index, _)| *index);
        add_bounded(&mut self.choices, output.choices.iter().copied());
        add_bounded(&mut self.ended, ended);
    }

    /// Return the elements of a batch as events; None if not all of them have a JSON form.
    fn events<'py>(
        &self,
        py: Python<'py>,
        output: &Output,
        first_id: Option<i64>,
        is_chunked: bool,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let place = (self.newest, self.rules.element);
        let options = (first_id.map(|number| ("", number)), false);
        self.engine.get().with_events(py, place, output.elements(), options, |outcome, events| {
            if outcome.is_err() {
                return Ok(None);
            }
            // The last chunk of a body is the empty one.
            if !is_chunked || events.is_empty() {
                return bytes_object(py, events).map(Some);
            }
            let length = format!("{:x}\r\n", events.len());
            let end = length.len() + events.len();
            PyBytes::new_with(py, end + 2, |room| {
                room[..length.len()].copy_from_slice(length.as_bytes());
                room[length.len()..end].copy_from_slice(events);
                room[end..].copy_from_slice(b"\r\n");
                Ok(())
            })
            .map(Some)
        })
    }

    /// Call a function with each event of a piece; return whether the framer panicked, which is counted.
    fn run(
        &mut self,
        py: Python,
        piece: &[u8],
        output: &mut Output,
        mut give: impl FnMut(&Engine, &Rules, &mut Output, &Event) -> ControlFlow<()> + Send,
    ) -> bool {
        let engine = self.engine.get();
        let Self { framer, rules, .. } = self;
        output.clear();
        // The piece may complete an event that arrived in many.
        let size = piece.len() + framer.state.held_bytes();
        let mut take = || {
            let run = || framer.take(piece, &mut |event| give(engine, rules, output, &event));
            catch_unwind(AssertUnwindSafe(run)).is_err()
        };
        let is_broken = if size < DETACHED_BYTES { take() } else { py.detach(take) };
        for frame in &output.frames {
            if let Form::Data(reason) = frame.form {
                engine.count(reason);
            }
        }
        if is_broken {
            engine.count(Handover::Panic);
        }
        is_broken
    }
}

fn add_bounded(indexes: &mut BTreeSet<i64>, more: impl Iterator<Item = i64>) {
    for index in more {
        if indexes.len() <= CHOICES_MAX {
            indexes.insert(index);
        }
    }
}

/// Return the error of a call while another one runs, as in the Python engine.
fn in_use(_: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err("the decoder is in use: feed it from one thread at a time")
}

/// Keep the memory for the next piece.
fn keep(mut output: Output) {
    output.shrink(KEPT_BYTES);
    OUTPUT.set(output);
}

/// Return a text of a stream as a string: bytes that are not UTF-8 become U+FFFD.
fn string<'py>(py: Python<'py>, text: Option<&[u8]>) -> PyResult<Option<Bound<'py, PyString>>> {
    let Some(text) = text else { return Ok(None) };
    match str::from_utf8(text) {
        Ok(_) => PyString::from_bytes(py, text).map(Some),
        // By Python itself, so that the number of replacement characters is the same.
        Err(_) => {
            let bytes = bytes_object(py, text)?;
            PyString::from_encoded_object(&bytes, Some(c"utf-8"), Some(c"replace")).map(Some)
        }
    }
}

fn frame_object<'py>(py: Python<'py>, output: &Output, frame: &Frame) -> PyResult<FrameObject<'py>> {
    let bytes = match frame.form {
        Form::Data(_) | Form::Message | Form::Error | Form::ErrorText | Form::Unframed => {
            Some(bytes_object(py, &output.bytes[frame.bytes.clone()])?)
        }
        Form::Nothing | Form::Done | Form::AfterDone | Form::TooLong => None,
    };
    let (id, name) = (string(py, frame.id.as_deref())?, string(py, frame.name.as_deref())?);
    Ok((frame.line, id, name, bytes, frame.form.number()))
}
