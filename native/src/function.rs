//! The public functions of the codec as callables.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::engine::{Engine, Revision};

#[derive(Clone, Copy)]
enum Conversion {
    FromJson,
    ToJson,
    JsonToBinary,
    BinaryToJson,
}

const ARGUMENTS_MAX: usize = 5;

/// Arguments of a call, in the order of the parameters; None for omitted ones.
type Arguments<'py> = [Option<Bound<'py, PyAny>>; ARGUMENTS_MAX];

impl Conversion {
    fn named(name: &str) -> Option<Conversion> {
        Some(match name {
            "from_json" => Conversion::FromJson,
            "to_json" => Conversion::ToJson,
            "json_to_binary" => Conversion::JsonToBinary,
            "binary_to_json" => Conversion::BinaryToJson,
            _ => return None,
        })
    }

    /// Return the names of the parameters, and how many of the first are required; the others are keywords.
    fn parameters(self) -> (&'static [&'static str], usize) {
        match self {
            Conversion::FromJson => (&["message_type", "data", "validate", "limits"], 2),
            Conversion::ToJson => (&["message", "names", "indent"], 1),
            Conversion::JsonToBinary => {
                (&["message_type", "data", "validate", "limits", "contract_revision"], 2)
            }
            Conversion::BinaryToJson => (&["message_type", "data", "names", "indent"], 2),
        }
    }
}

/// Converts what the engine can, and calls a Python function for what falls back.
///
/// It has the name, the docstring and the signature of that function, like a wrapper of functools.
#[pyclass(frozen, dict, weakref, module = "mistralwire_native")]
pub struct Function {
    engine: Py<Engine>,
    conversion: Conversion,
    parameters: Vec<Py<PyString>>,
    required: usize,
    function: Py<PyAny>,
}

#[pymethods]
impl Function {
    #[pyo3(signature = (*positional, **keywords))]
    fn __call__<'py>(
        &self,
        positional: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let converted = match self.arguments(positional, keywords)? {
            Some(arguments) => self.convert(&arguments)?,
            // The function itself raises the error.
            None => None,
        };
        match converted {
            Some(converted) => Ok(converted),
            None => self.function.bind(positional.py()).call(positional, keywords),
        }
    }

    /// Bind it to an object, like a function that is an attribute of a class.
    fn __get__<'py>(
        slf: Bound<'py, Self>,
        instance: Option<Bound<'py, PyAny>>,
        _owner: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match instance {
            Some(instance) => slf.py().import("types")?.getattr("MethodType")?.call1((slf, instance)),
            None => Ok(slf.into_any()),
        }
    }

    /// Copy and pickle it by its name.
    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.function.bind(py).getattr("__qualname__")
    }

    fn __repr__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        self.function.bind(py).repr()
    }
}

impl Function {
    /// Return the native form of a function of the codec.
    pub fn make<'py>(
        engine: &Bound<'py, Engine>,
        function: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (function.py(), function.getattr("__name__")?);
        let conversion = Conversion::named(&name.extract::<String>()?)
            .ok_or_else(|| PyValueError::new_err("no function of the engine"))?;
        let (names, required) = conversion.parameters();
        let parameters = names.iter().map(|name| PyString::intern(py, name).unbind()).collect();
        let engine = engine.clone().unbind();
        let native =
            Function { engine, conversion, parameters, required, function: function.clone().unbind() };
        py.import("functools")?.call_method1("update_wrapper", (native.into_pyobject(py)?, function))
    }

    /// Return the arguments of a call; None if they do not fit the parameters.
    #[inline(always)]
    fn arguments<'py>(
        &self,
        positional: &Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<Arguments<'py>>> {
        let count = positional.len();
        if count > self.required {
            return Ok(None);
        }
        let mut arguments = [const { None }; ARGUMENTS_MAX];
        for (argument, value) in arguments.iter_mut().zip(positional) {
            *argument = Some(value);
        }
        if let Some(keywords) = keywords {
            let mut unknown = keywords.len();
            for (argument, name) in arguments.iter_mut().zip(&self.parameters).skip(count) {
                *argument = keywords.get_item(name)?;
                unknown -= usize::from(argument.is_some());
            }
            if unknown > 0 {
                return Ok(None);
            }
        }
        Ok(arguments[..self.required].iter().all(Option::is_some).then_some(arguments))
    }

    #[inline(always)]
    fn convert<'py>(&self, arguments: &Arguments<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let engine = self.engine.get();
        let [first, second, third, fourth, fifth] = arguments.each_ref().map(Option::as_ref);
        let (Some(first), data) = (first, second) else { return Ok(None) };
        match (self.conversion, data) {
            (Conversion::ToJson, names) => {
                Ok(engine.message_to_text(first, names, third)?.map(Bound::into_any))
            }
            (Conversion::BinaryToJson, Some(data)) => {
                Ok(engine.wire_to_text(first, data, third, fourth)?.map(Bound::into_any))
            }
            (Conversion::JsonToBinary, Some(data)) => {
                let revision = fifth.map_or(Revision::First, Revision::Of);
                let wire = engine.text_to_wire(first, data, third, fourth, revision)?;
                Ok(wire.map(|(_, wire)| wire.into_any()))
            }
            (Conversion::FromJson, Some(data)) => {
                engine.text_to_message(first, data, third, fourth, Revision::Newest)
            }
            (_, None) => Ok(None),
        }
    }
}
