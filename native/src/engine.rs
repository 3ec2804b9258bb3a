//! The engine as a Python object.

use std::cell::RefCell;

use mistralwire_core::from_json::{Mode, Scratch, read};
use mistralwire_core::guard::guarded;
use mistralwire_core::handover::Outcome;
use mistralwire_core::pack::unpack;
use mistralwire_core::scan::Limits;
use mistralwire_core::to_json::write;
use mistralwire_core::{Handover, Plan};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::counts::Counts;
use crate::roots::Roots;

/// From this size on, other threads run meanwhile.
const DETACHED_BYTES: usize = 32_768;
/// Memory that is kept from one document to the next.
const KEPT_BYTES: usize = 1 << 20;

thread_local!(static SCRATCH: RefCell<Scratch> = const { RefCell::new(Scratch::new()) });

/// Bounds of one call.
#[derive(Clone, Copy)]
struct Bounds {
    document_bytes: usize,
    limits: Limits,
}

impl Bounds {
    fn of(limits: &Bound<'_, PyAny>) -> PyResult<Bounds> {
        let bound = |name: &str| limits.getattr(name)?.extract::<usize>();
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

/// Converts between JSON text and wire bytes by the plans it was made with.
#[pyclass(frozen, module = "mistralwire_native")]
pub struct Engine {
    plan: Plan,
    /// Index of a message's plan, by the address of its class and the revision.
    roots: Roots,
    newest: i64,
    /// The classes, so that their addresses stay theirs.
    _classes: Vec<Py<PyAny>>,
    default_limits: Py<PyAny>,
    default_bounds: Bounds,
    counts: Counts,
}

// The names of the Python functions that call these.
#[allow(clippy::wrong_self_convention)]
#[pymethods]
impl Engine {
    /// Make an engine of packed plans.
    #[new]
    fn new(
        packed: &[u8],
        roots: Vec<(Py<PyAny>, i64, usize)>,
        default_limits: Bound<'_, PyAny>,
    ) -> PyResult<Engine> {
        let plan = unpack(packed).map_err(|error| PyValueError::new_err(error.0))?;
        if roots.iter().any(|(_, _, index)| *index >= plan.messages.len()) {
            return Err(PyValueError::new_err("a root that is no plan"));
        }
        Ok(Engine {
            plan,
            newest: roots.iter().map(|(_, revision, _)| *revision).max().unwrap_or(1),
            roots: Roots::new(
                roots.iter().map(|(class, revision, index)| (class.as_ptr() as usize, *revision, *index)),
            ),
            _classes: roots.into_iter().map(|(class, _, _)| class).collect(),
            default_bounds: Bounds::of(&default_limits)?,
            default_limits: default_limits.unbind(),
            counts: Counts::default(),
        })
    }

    /// Convert JSON text to wire bytes; None where the Python engine is to do it.
    #[pyo3(signature = (message_type, data, validate, limits, revision, /))]
    fn from_json<'py>(
        &self,
        py: Python<'py>,
        message_type: &Bound<'py, PyAny>,
        data: &Bound<'py, PyAny>,
        validate: bool,
        limits: &Bound<'py, PyAny>,
        revision: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let bounds = if limits.as_ptr() == self.default_limits.as_ptr() {
            self.default_bounds
        } else {
            Bounds::of(limits)?
        };
        let root = revision
            .extract::<i64>()
            .ok()
            .and_then(|revision| self.roots.find(message_type.as_ptr() as usize, revision.min(self.newest)));
        let Some(root) = root else {
            return Ok(self.refuse());
        };
        let (text, is_checked) = if let Ok(bytes) = data.cast::<PyBytes>() {
            (bytes.as_bytes(), false)
        } else if let Some(text) = data.cast::<PyString>().ok().and_then(|text| text.to_str().ok()) {
            (text.as_bytes(), true)
        } else {
            return Ok(self.refuse());
        };
        let mode = Mode { validate, limits: bounds.limits };
        Ok(self.run(py, text.len(), |scratch| {
            if text.len() > bounds.document_bytes {
                return Err(Handover::Limit);
            }
            if !is_checked && str::from_utf8(text).is_err() {
                return Err(Handover::NotJson);
            }
            read(&self.plan, root, text, mode, scratch)
        }))
    }

    /// Convert wire bytes to JSON text; None where the Python engine is to do it.
    #[pyo3(signature = (message_type, wire, camel, /))]
    fn to_json<'py>(
        &self,
        py: Python<'py>,
        message_type: &Bound<'py, PyAny>,
        wire: &Bound<'py, PyAny>,
        camel: bool,
    ) -> Option<Bound<'py, PyBytes>> {
        let root = self.roots.find(message_type.as_ptr() as usize, self.newest);
        let (Some(root), Ok(wire)) = (root, wire.cast::<PyBytes>()) else {
            return self.refuse();
        };
        let wire = wire.as_bytes();
        self.run(py, wire.len(), |scratch| {
            write(&self.plan, root, wire, camel, &mut scratch.tape, &mut scratch.out)
        })
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
    fn refuse<T>(&self) -> Option<T> {
        self.counts.add(Handover::Arguments);
        None
    }

    /// Run a conversion; None, counted, if it hands the document over.
    #[inline]
    fn run<'py>(
        &self,
        py: Python<'py>,
        size: usize,
        convert: impl FnOnce(&mut Scratch) -> Outcome + Send,
    ) -> Option<Bound<'py, PyBytes>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let outcome = if size < DETACHED_BYTES {
                guarded(scratch, convert)
            } else {
                py.detach(|| guarded(scratch, convert))
            };
            let bytes = match outcome {
                Ok(()) => Some(PyBytes::new(py, &scratch.out)),
                Err(reason) => {
                    self.counts.add(reason);
                    None
                }
            };
            scratch.shrink(KEPT_BYTES);
            bytes
        })
    }
}
