"""What every reader does first: bring a report's text in, whole and in one encoding, or refuse it."""

import re
import stat
from pathlib import Path
from typing import Final

from sweep.errors import ReportError

LARGEST: Final = 32 * 1024 * 1024  # bytes; the largest real report is a timing report of a few megabytes

_REMEDY: Final = "save the report of a finished run again, or tell us of this layout if the tool wrote it so"
_VERSION: Final = re.compile(r"20[0-9]{2}\.[0-9](?:\.[0-9])?")
_PART: Final = re.compile(r"[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*")
_STATE: Final = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)*")
# Tabs and line ends are the only control characters a tool writes; a file cut by a full disk is
# often padded with NUL bytes.
_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f]")


def refuse(name: str, place: str, line: int | None, expected: str, found: str = "") -> ReportError:
    """Return the error of report `name`: one line that names the file, the table and its line."""
    where = f"{place}, line {line}" if line is not None else place
    problem = f"expected {expected}, found {found}" if found else f"expected {expected}"
    message = f"{name}: {where}: {problem}; {_REMEDY}"
    return ReportError("".join(letter if letter.isprintable() else "?" for letter in message))


def quoted(cell: str) -> str:
    """Return a cell of a report for an error message: short, in quotes, on one line."""
    text = cell.strip()
    return ascii(text if len(text) <= 40 else text[:37] + "...")


def read_bytes(path: Path) -> bytes:
    """Return the content of a report; raises ReportError when it is no file or no report can be as large."""
    name = str(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise refuse(name, "the file", None, "a regular file")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except ReportError:
        raise
    except (OSError, ValueError) as error:  # a name with a NUL byte is a ValueError
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise refuse(name, "the file", None, "one that can be read", reason) from None
    return content


def decode(content: bytes, name: str) -> str:
    """Return the text of a report; raises ReportError when it is not UTF-8."""
    if len(content) > LARGEST:
        raise _too_large(name)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refuse(name, "the file", line, "UTF-8 text", f"byte {content[error.start]:#04x}") from None


def clean(text: str, name: str) -> str:
    """Return `text` with line ends as newlines and without a byte-order mark.

    Raises ReportError when it is empty, larger than `LARGEST` or holds control characters.
    """
    if len(text) > LARGEST:
        raise _too_large(name)
    text = text.removeprefix("\ufeff")
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    if found := _CONTROL.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise refuse(name, "the file", line, "text", f"character {ord(found[0]):#04x}")
    if not text.strip():
        raise refuse(name, "the file", None, "a report", "an empty file")
    return text


def read_text(path: Path) -> str:
    """Return the text of a report; raises ReportError when it is not a file of UTF-8 text."""
    return decode(read_bytes(path), str(path))


def tool_version(text: str, name: str, place: str, line: int) -> str:
    """Return the version that opens `text`, such as 2024.1 or 2022.1.2; raises ReportError without one."""
    found = _VERSION.match(text)
    rest = text[found.end() :] if found else ""
    if found is None or rest[:1].isalnum() or rest[:1] == ".":
        raise refuse(name, place, line, "a tool version such as 2024.1", quoted(text))
    return found[0]


def part_name(text: str, name: str, place: str, line: int) -> str:
    """Return `text` if it can be a part in any of the tools' spellings; raises ReportError if not."""
    if not _PART.fullmatch(text):
        raise refuse(name, place, line, "a part such as xcu250-figd2104-2L-e", quoted(text))
    return text


def design_state(text: str, name: str, place: str, line: int) -> str:
    """Return `text` if it can be the state of a design, such as Routed; raises ReportError if not."""
    if not _STATE.fullmatch(text):
        raise refuse(name, place, line, "a state of the design such as Routed", quoted(text))
    return text


def _too_large(name: str) -> ReportError:
    return refuse(name, "the file", None, "a report", f"more than {LARGEST >> 20} MB")
