"""Every error that a user can meet, in one place.

CicadaError                 one line: the thing, what was expected, what to do
├── ConfigError             a value that no student, dataset or study can have
├── DataError               a file or an array is not CICADA region data
├── GenerationError         event generation stopped
├── TeacherError            a teacher cannot be trained, loaded or used
├── SchemeError             the environment of a quantization scheme is missing or broken
├── StudentError            a saved student cannot be read, or is not of the kind that is wanted
├── TrainingError           a student cannot be trained
└── CostError               a trained student cannot be costed

`sweep.errors` adds what belongs to studies and storage. The command line prints
``str(error)`` after ``error:`` and exits with ``error.exit_code``.
"""


class CicadaError(Exception):
    """Base of all errors shown to users; ``str(error)`` is a single line."""

    exit_code = 2


class ConfigError(CicadaError, ValueError):
    """A configuration value is not allowed."""


class DataError(CicadaError, ValueError):
    """A file or an array is not the region data that it should be."""


class GenerationError(CicadaError, RuntimeError):
    """Pythia or the overlay could not make the events asked for."""


class TeacherError(CicadaError, RuntimeError):
    """A teacher could not be trained, loaded or used."""


class SchemeError(CicadaError, RuntimeError):
    """The environment that students of a scheme are trained in is missing, or stopped."""


class StudentError(CicadaError, ValueError):
    """A saved student cannot be read, or is not of the kind that is wanted."""


class TrainingError(CicadaError, RuntimeError):
    """A student could not be trained."""


class CostError(CicadaError, RuntimeError):
    """A trained student could not be costed."""
