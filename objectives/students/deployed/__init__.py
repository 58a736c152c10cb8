"""A released CICADA as a `QuantizedNetwork`: what runs in the trigger today, bit for bit."""

from pathlib import Path

from objectives.errors import DataError
from objectives.students.deployed.archive import read_archive
from objectives.students.deployed.release import read_folder
from objectives.students.network import QuantizedNetwork


def read_deployed(path: Path) -> QuantizedNetwork:
    """Return the student of a release's folder or of an `.npz` archive of its weights.

    Raises DataError, one line that names the file, for what is missing or cannot be done exactly.
    """
    try:
        if path.is_dir():
            return read_folder(path)
        if path.suffix == ".npz":
            return read_archive(path)
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error})") from None
    if path.exists():
        raise DataError(f"{path}: is neither a release's folder nor an .npz archive of weights")
    raise DataError(
        f"{path}: there is no such folder or file; give a release of CICADA or an .npz of its weights"
    )
