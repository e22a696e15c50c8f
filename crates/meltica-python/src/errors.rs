//! The exception tree.

use pyo3::create_exception;
use pyo3::exceptions::{PyBaseException, PyException};
use pyo3::prelude::*;

create_exception!(meltica, MelticaError, PyException, "Base class of every error that Meltica raises.");
create_exception!(
    meltica,
    CodecError,
    MelticaError,
    "A codec declaration is invalid. The message lists every fault."
);
create_exception!(
    meltica,
    CapacityError,
    MelticaError,
    "An instance needs more memory than the configured maximum leaves."
);
create_exception!(meltica, LambdaError, MelticaError, "An instance cannot do what was requested.");
create_exception!(
    meltica,
    LambdaStopped,
    PyBaseException,
    "Raised inside a callback that is still running when its instance is stopped."
);

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("MelticaError", py.get_type::<MelticaError>())?;
    module.add("CodecError", py.get_type::<CodecError>())?;
    module.add("CapacityError", py.get_type::<CapacityError>())?;
    module.add("LambdaError", py.get_type::<LambdaError>())?;
    module.add("LambdaStopped", py.get_type::<LambdaStopped>())
}
