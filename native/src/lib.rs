//! The Python extension `mistralwire_native`: the engine of `mistralwire_core` for Python objects.

mod counts;
mod engine;
mod function;
mod roots;
mod sse;

use pyo3::prelude::*;

/// The native engine of mistralwire's codec.
#[pymodule(gil_used = false)]
fn mistralwire_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("INTERFACE", mistralwire_core::pack::INTERFACE)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<sse::SseReader>()
}
