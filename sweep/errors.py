"""Errors of studies, in addition to those of `objectives.errors`.

CicadaError
├── ConfigError
│   ├── StudyFileError      a study file cannot be read, or says something that cannot be
│   └── SearchSpaceError    parameters or a recipe do not belong to a search space
├── StudyError              a study cannot be created, found or resumed
├── StorageError            the database cannot be reached or does not hold what it should
├── LaunchError             workers cannot be started, or stopped, as was asked
├── SynthesisError          a tool is missing, or a student cannot be given to it
├── ReportError             a report of a tool cannot be read
├── ArtifactError           where artifacts are kept cannot be reached, read or written
└── ExportError             a student cannot be exported, or is not, bit for bit, what was exported
"""

from objectives.errors import CicadaError, ConfigError


class StudyFileError(ConfigError):
    """One line: ``FILE: key.path: what is wrong, what is allowed``."""


class SearchSpaceError(ConfigError):
    """One line: ``key.path: what is wrong, what is allowed``."""


class StudyError(CicadaError, RuntimeError):
    """A study could not be created, found or resumed."""


class StorageError(CicadaError, RuntimeError):
    """The database could not be reached, or does not hold what it should."""


class LaunchError(CicadaError, RuntimeError):
    """A batch system is not there, refuses, or cannot do what was asked of it."""


class SynthesisError(CicadaError, RuntimeError):
    """A synthesis tool is not installed, or a student cannot be given to it."""


class ReportError(CicadaError, ValueError):
    """One line: ``FILE: table or line: what was expected``; never a figure in place of one not found."""


class ArtifactError(CicadaError, RuntimeError):
    """A folder or bucket of artifacts cannot be reached, read or written; no secret is in it."""


class ExportError(CicadaError, RuntimeError):
    """A student cannot be exported, or an export differs from its student."""
