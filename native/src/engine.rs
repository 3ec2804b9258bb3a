//! The engine as a Python object.

use std::cell::RefCell;

use mistralwire_core::from_json::{Mode, Scratch, read};
use mistralwire_core::guard::guarded;
use mistralwire_core::handover::Outcome;
use mistralwire_core::indent::indent;
use mistralwire_core::pack::{FIELD_NUMBER_MAX, unpack};
use mistralwire_core::scan::Limits;
use mistralwire_core::sse::BYTE_ORDER_MARK;
use mistralwire_core::stream::{Observed, Rules, write_events};
use mistralwire_core::to_json::write;
use mistralwire_core::{Handover, Plan};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::counts::Counts;
use crate::function::Function;
use crate::roots::{Root, Roots};
use crate::sse::SseReader;

/// From this size on, the interpreter is released during a conversion.
pub const DETACHED_BYTES: usize = 32_768;
/// Larger indents fall back to the Python engine: a short text would become a long one.
const INDENT_MAX: usize = 16;
/// Strings of this size are copied from the text to the result at once.
const GAP_BYTES: usize = 1 << 16;
/// Memory that is kept from one document to the next.
pub const KEPT_BYTES: usize = 1 << 20;

thread_local!(pub static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) });
thread_local!(static EVENTS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

/// Return a bytes object; without memory for it, this is a MemoryError and not a panic.
pub fn bytes_object<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, bytes.len(), |room| {
        room.copy_from_slice(bytes);
        Ok(())
    })
}

/// Return the output of a conversion as a bytes object, with the texts of its gaps.
fn filled<'py>(py: Python<'py>, scratch: &Scratch, text: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, scratch.size(), |mut room| {
        scratch.pieces(text, |piece| {
            let (start, rest) = std::mem::take(&mut room).split_at_mut(piece.len());
            start.copy_from_slice(piece);
            room = rest;
        });
        Ok(())
    })
}

/// Bounds of one call.
#[derive(Clone, Copy)]
struct Bounds {
    document_bytes: usize,
    limits: Limits,
}

impl Bounds {
    fn of(limits: &Bound<'_, PyAny>) -> PyResult<Bounds> {
        let bound = |name: &str| size(&limits.getattr(name)?);
        Ok(Bounds {
            document_bytes: bound("document_bytes_max")?,
            limits: Limits {
                depth: bound("depth_max")?,
                members: bound("members_max")?,
                values: bound("values_max")?,
            },
        })
    }
}

/// Return a positive integer; one that exceeds the address space as the largest size.
fn size(value: &Bound<'_, PyAny>) -> PyResult<usize> {
    match value.extract::<usize>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(value.py()) => Ok(usize::MAX),
        size => size,
    }
}

/// A revision of the contract.
#[derive(Clone, Copy)]
pub enum Revision<'a, 'py> {
    First,
    Newest,
    Of(&'a Bound<'py, PyAny>),
}

/// A message class and its methods, which protobuf is slow to look up: it searches the fields first.
pub struct Class {
    /// Kept alive so that its address is not reused.
    _class: Py<PyAny>,
    from_string: Py<PyAny>,
    serialize: Py<PyAny>,
}

/// Converts between JSON text and wire bytes by the plans that it was created with.
#[pyclass(frozen, module = "mistralwire_native")]
pub struct Engine {
    plan: Plan,
    roots: Roots,
    newest: i64,
    classes: Vec<Class>,
    default_limits: Py<PyAny>,
    default_bounds: Bounds,
    snake: Py<PyString>,
    camel: Py<PyString>,
    counts: Counts,
}

// The names of the Python functions that call these.
#[allow(clippy::wrong_self_convention)]
#[pymethods]
impl Engine {
    /// Create an engine from packed plans.
    #[new]
    fn new(
        py: Python,
        packed: &[u8],
        roots: Vec<(Py<PyAny>, i64, usize)>,
        default_limits: Bound<'_, PyAny>,
    ) -> PyResult<Engine> {
        let plan = unpack(packed).map_err(|error| PyValueError::new_err(error.0))?;
        if roots.iter().any(|(_, _, index)| *index >= plan.messages.len()) {
            return Err(PyValueError::new_err("a root that is no plan"));
        }
        let class_of = |(class, _, _): &(Py<PyAny>, i64, usize)| {
            let class = class.bind(py);
            Ok(Class {
                _class: class.clone().unbind(),
                from_string: class.getattr("FromString")?.unbind(),
                serialize: class.getattr("SerializeToString")?.unbind(),
            })
        };
        let classes = roots.iter().map(class_of).collect::<PyResult<_>>()?;
        let newest = roots.iter().map(|(_, revision, _)| *revision).max().unwrap_or(1);
        let roots = roots.iter().enumerate().map(|(class, (object, revision, message))| Root {
            address: object.as_ptr() as usize,
            revision: *revision,
            message: *message,
            class,
        });
        Ok(Engine {
            plan,
            roots: Roots::new(roots),
            newest,
            classes,
            default_bounds: Bounds::of(&default_limits)?,
            default_limits: default_limits.unbind(),
            snake: PyString::intern(py, "snake").unbind(),
            camel: PyString::intern(py, "camel").unbind(),
            counts: Counts::default(),
        })
    }

    /// Convert JSON text to wire bytes; None to fall back to the Python engine.
    #[pyo3(signature = (message_type, data, validate, limits, revision, /))]
    fn json_to_binary<'py>(
        &self,
        message_type: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        validate: &Bound<'py, PyAny>,
        limits: &Bound<'py, PyAny>,
        revision: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let read =
            self.text_to_wire(message_type, data, Some(validate), Some(limits), Revision::Of(revision))?;
        Ok(read.map(|(_, wire)| wire))
    }

    /// Convert JSON text to a message; None to fall back to the Python engine.
    #[pyo3(signature = (message_type, data, validate, limits, revision, /))]
    fn from_json<'py>(
        &self,
        message_type: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        validate: &Bound<'py, PyAny>,
        limits: &Bound<'py, PyAny>,
        revision: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.text_to_message(message_type, data, Some(validate), Some(limits), Revision::Of(revision))
    }

    /// Convert wire bytes to JSON text; None to fall back to the Python engine.
    #[pyo3(signature = (message_type, wire, names, indent, /))]
    fn binary_to_json<'py>(
        &self,
        message_type: &Bound<'py, PyAny>,
        wire: &Bound<'py, PyAny>,
        names: &Bound<'py, PyAny>,
        indent: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.wire_to_text(message_type, wire, Some(names), Some(indent))
    }

    /// Convert a message to JSON text; None to fall back to the Python engine.
    #[pyo3(signature = (message, names, indent, /))]
    fn to_json<'py>(
        &self,
        message: &Bound<'py, PyAny>,
        names: &Bound<'py, PyAny>,
        indent: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.message_to_text(message, Some(names), Some(indent))
    }

    /// Return the native form of a public function of the codec, which calls that function for what falls back.
    #[pyo3(signature = (function, /))]
    fn function<'py>(slf: &Bound<'py, Self>, function: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Function::make(slf, function)
    }

    /// Return a reader for a stream of server-sent events; None to fall back to the Python engine.
    ///
    /// `layout` has five field numbers: of the messages in a batch message; of the usage and the choices in a
    /// message; of the index and the finish reason in a choice.
    /// The options are whether to validate, the limits of documents, the bytes of an event, and the revision.
    #[pyo3(signature = (message_type, error_type, options, layout, /))]
    fn sse_reader<'py>(
        slf: &Bound<'py, Self>,
        message_type: &Bound<'py, PyAny>,
        error_type: &Bound<'py, PyAny>,
        options: (bool, Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>),
        layout: (u32, u32, u32, u32, u32),
    ) -> PyResult<Option<SseReader>> {
        let this = slf.get();
        let (validate, limits, buffer_bytes_max, revision) = options;
        let bounds = this.bounds(Some(&limits))?;
        let (root, newest) =
            (this.root(message_type, Revision::Of(&revision)), this.newest_root(message_type));
        let (Some(root), Some(newest), Some(error)) = (root, newest, this.newest_root(error_type)) else {
            return Ok(this.refuse());
        };
        let (root, newest, error) = (root.message, newest.message, error.message);
        let (element, usage, choices, index, finish_reason) = layout;
        let observed = Observed::new(&this.plan, root, [usage, choices, index, finish_reason])
            .filter(|_| (1..=FIELD_NUMBER_MAX).contains(&element))
            .ok_or_else(|| PyValueError::new_err("a layout that does not fit the plan"))?;
        let mode = Mode { validate, limits: bounds.limits, gap_bytes: usize::MAX };
        let rules =
            Rules::new(&this.plan, (root, newest, error), mode, bounds.document_bytes, element, observed);
        Ok(Some(SseReader::new(slf.clone().unbind(), rules, newest, size(&buffer_bytes_max)?)))
    }

    /// Convert a batch message to events, with ids or without; None to fall back to the Python engine. `element` is
    /// the field number of the messages in it, the first id a prefix and a number, from which the others are counted.
    #[pyo3(signature = (message_type, element, wire, first_id, camel, /))]
    fn sse_events<'py>(
        &self,
        py: Python<'py>,
        message_type: &Bound<'py, PyAny>,
        element: u32,
        wire: &Bound<'py, PyAny>,
        first_id: &Bound<'py, PyAny>,
        camel: bool,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let first_id =
            if first_id.is_none() { Ok(None) } else { first_id.extract::<(PyBackedStr, i64)>().map(Some) };
        let arguments = (self.newest_root(message_type), wire.cast::<PyBytes>(), first_id);
        let (Some(root), Ok(wire), Ok(first_id)) = arguments else {
            return Ok(self.refuse());
        };
        let first_id = first_id.as_ref().map(|(prefix, number)| (&**prefix, *number));
        if first_id.is_some_and(|(prefix, _)| prefix.contains(['\r', '\n', '\0'])) {
            return Ok(self.refuse());
        }
        self.with_events(
            py,
            (root.message, element),
            wire.as_bytes(),
            (first_id, camel),
            |outcome, events| self.outcome(outcome, || bytes_object(py, events)),
        )
    }

    /// Return how often a document was handed over, by reason.
    fn handovers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for (name, count) in self.counts.named() {
            counts.set_item(name, count)?;
        }
        Ok(counts)
    }
}

impl Engine {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn count(&self, reason: Handover) {
        self.counts.add(reason);
    }

    /// Write a batch message as events, and return the result of a function of them.
    ///
    /// The place is the message and the field number of the elements; the options are the optional first id, see
    /// `write_events`, and whether names are in lowerCamelCase.
    pub fn with_events<T>(
        &self,
        py: Python,
        place: (usize, u32),
        wire: &[u8],
        (first_id, camel): (Option<(&str, i64)>, bool),
        make: impl FnOnce(Outcome, &[u8]) -> T,
    ) -> T {
        EVENTS.with_borrow_mut(|events| {
            let outcome = SCRATCH.with_borrow_mut(|scratch| {
                let mut convert = || {
                    guarded(scratch, |scratch| {
                        write_events(&self.plan, place, wire, first_id, camel, scratch, events)
                    })
                };
                let outcome = if wire.len() < DETACHED_BYTES { convert() } else { py.detach(convert) };
                scratch.shrink(KEPT_BYTES);
                outcome
            });
            let made = make(outcome, events);
            events.clear();
            events.shrink_to(KEPT_BYTES);
            made
        })
    }

    fn bounds(&self, limits: Option<&Bound<'_, PyAny>>) -> PyResult<Bounds> {
        match limits {
            Some(limits) if limits.as_ptr() != self.default_limits.as_ptr() => Bounds::of(limits),
            _ => Ok(self.default_bounds),
        }
    }

    /// Return the root of a message class in a revision.
    #[inline]
    fn root(&self, message_type: &Bound<'_, PyAny>, revision: Revision) -> Option<&Root> {
        let revision = match revision {
            Revision::First => 1,
            Revision::Newest => self.newest,
            Revision::Of(revision) => revision.extract::<i64>().ok()?,
        };
        self.roots.find(message_type.as_ptr() as usize, revision.min(self.newest))
    }

    #[inline]
    fn newest_root(&self, message_type: &Bound<'_, PyAny>) -> Option<&Root> {
        self.roots.find(message_type.as_ptr() as usize, self.newest)
    }

    /// Convert JSON text to wire bytes of a class. Here and below, an argument that is None has its default value,
    /// and a result that is None falls back to the Python engine.
    #[inline(always)]
    pub fn text_to_wire<'py>(
        &self,
        message_type: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        validate: Option<&Bound<'py, PyAny>>,
        limits: Option<&Bound<'py, PyAny>>,
        revision: Revision,
    ) -> PyResult<Option<(&Class, Bound<'py, PyBytes>)>> {
        let bounds = self.bounds(limits)?;
        let validate = validate.map_or(Ok(true), |validate| validate.extract());
        let (Some(root), Ok(validate)) = (self.root(message_type, revision), validate) else {
            return Ok(self.refuse());
        };
        let text = if let Ok(bytes) = data.cast::<PyBytes>() {
            bytes.as_bytes()
        } else if let Some(text) = data.cast::<PyString>().ok().and_then(|text| text.to_str().ok()) {
            text.as_bytes()
        } else {
            return Ok(self.refuse());
        };
        let mode = Mode { validate, limits: bounds.limits, gap_bytes: GAP_BYTES };
        let (size, text) = (text.len(), text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text));
        let convert = |scratch: &mut Scratch| {
            if size > bounds.document_bytes {
                return Err(Handover::Limit);
            }
            read(&self.plan, root.message, text, mode, scratch)
        };
        let wire = self.run(data.py(), size, convert, |scratch| filled(data.py(), scratch, text));
        Ok(wire?.map(|wire| (&self.classes[root.class], wire)))
    }

    /// Convert JSON text to a message.
    #[inline(always)]
    pub fn text_to_message<'py>(
        &self,
        message_type: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        validate: Option<&Bound<'py, PyAny>>,
        limits: Option<&Bound<'py, PyAny>>,
        revision: Revision,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let read = self.text_to_wire(message_type, data, validate, limits, revision)?;
        read.map(|(class, wire)| class.from_string.bind(wire.py()).call1((wire,))).transpose()
    }

    /// Convert wire bytes to JSON text.
    #[inline(always)]
    pub fn wire_to_text<'py>(
        &self,
        message_type: &Bound<'py, PyAny>,
        wire: &Bound<'py, PyAny>,
        names: Option<&Bound<'py, PyAny>>,
        indent: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match (self.newest_root(message_type), wire.cast::<PyBytes>()) {
            (Some(root), Ok(wire)) => self.write(root, wire, names, indent),
            _ => Ok(self.refuse()),
        }
    }

    /// Convert a message to JSON text.
    #[inline(always)]
    pub fn message_to_text<'py>(
        &self,
        message: &Bound<'py, PyAny>,
        names: Option<&Bound<'py, PyAny>>,
        indent: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let Some(root) = self.roots.find(message.get_type_ptr() as usize, self.newest) else {
            return Ok(self.refuse());
        };
        let wire = self.classes[root.class].serialize.bind(message.py()).call1((message,))?;
        self.write(root, wire.cast()?, names, indent)
    }

    fn write<'py>(
        &self,
        root: &Root,
        wire: &Bound<'py, PyBytes>,
        names: Option<&Bound<'py, PyAny>>,
        indentation: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let (Some(camel), Some(spaces)) = (self.is_camel(names), spaces_of(indentation)) else {
            return Ok(self.refuse());
        };
        let bytes = wire.as_bytes();
        let convert = |scratch: &mut Scratch| {
            write(&self.plan, root.message, bytes, camel, &mut scratch.tape, &mut scratch.out)?;
            if spaces > 0 {
                let compact = std::mem::take(&mut scratch.out);
                indent(&compact, spaces, &mut scratch.out);
            }
            Ok(())
        };
        self.run(wire.py(), bytes.len(), convert, |scratch| bytes_object(wire.py(), &scratch.out))
    }

    /// Return whether names are to be in lowerCamelCase; None if the argument is invalid.
    #[inline(always)]
    fn is_camel(&self, names: Option<&Bound<PyAny>>) -> Option<bool> {
        let Some(names) = names else { return Some(false) };
        let spelling = names.as_ptr();
        if spelling == self.snake.as_ptr() {
            Some(false)
        } else if spelling == self.camel.as_ptr() {
            Some(true)
        } else {
            // A string that was created at run time is another object.
            match names.cast::<PyString>().ok()?.to_str().ok()? {
                "snake" => Some(false),
                "camel" => Some(true),
                _ => None,
            }
        }
    }

    fn refuse<T>(&self) -> Option<T> {
        self.counts.add(Handover::Arguments);
        None
    }

    /// Run a conversion; if it hands the document over, count that and return None.
    #[inline]
    fn run<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        convert: impl FnOnce(&mut Scratch) -> Outcome + Send,
        make: impl FnOnce(&Scratch) -> PyResult<Bound<'py, PyBytes>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let outcome = if size < DETACHED_BYTES {
                guarded(scratch, convert)
            } else {
                py.detach(|| guarded(scratch, convert))
            };
            let bytes = self.outcome(outcome, || make(scratch));
            scratch.shrink(KEPT_BYTES);
            bytes
        })
    }

    /// Return the result of a conversion; if it handed the document over, count that and return None.
    #[inline]
    fn outcome<'py>(
        &self,
        outcome: Outcome,
        make: impl FnOnce() -> PyResult<Bound<'py, PyBytes>>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match outcome {
            Ok(()) => make().map(Some),
            Err(reason) => {
                self.counts.add(reason);
                Ok(None)
            }
        }
    }
}

/// Return the spaces per level, 0 for compact text; None if there are too many for this engine.
#[inline(always)]
fn spaces_of(indent: Option<&Bound<PyAny>>) -> Option<usize> {
    match indent {
        Some(indent) if !indent.is_none() => {
            indent.extract().ok().filter(|spaces| (1..=INDENT_MAX).contains(spaces))
        }
        _ => Some(0),
    }
}
