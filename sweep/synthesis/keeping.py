"""What a synthesis leaves behind: its reports, log and sources, put into Optuna's artifact store."""

import gzip
import io
import uuid
import zipfile
from collections.abc import Iterable
from pathlib import Path

from sweep.artifacts.stores import Store

#: Bytes from which a text is worth compressing.
LARGE = 100_000
#: Folders whose files go together into one archive.
_TOGETHER = ("src", "rtl", "firmware")
#: The earliest time that zip can express; files are dated alike so that equal sources are equal bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def store(folder: Path, files: Iterable[Path], kept: Store) -> dict[str, str]:
    """Put `files` of `folder` into the artifact store `kept`; return {name: id}."""
    result = {}
    for name, content in _contents(folder, files):
        result[name] = str(uuid.uuid4())
        kept.write(result[name], io.BytesIO(content))
    return result


def _contents(folder: Path, files: Iterable[Path]) -> Iterable[tuple[str, bytes]]:
    archives: dict[str, list[Path]] = {}
    for file in files:
        relative = file.relative_to(folder)
        if relative.parts[0] in _TOGETHER:
            archives.setdefault(relative.parts[0], []).append(relative)
            continue
        content = file.read_bytes()
        name = "-".join(relative.parts)
        if len(content) > LARGE and file.suffix != ".dcp":
            yield f"{name}.gz", gzip.compress(content, 6, mtime=0)
        else:
            yield name, content
    for name, members in archives.items():
        yield f"{'rtl' if name == 'src' else name}.zip", _archive(folder, members)


def _archive(folder: Path, members: Iterable[Path]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member in members:
            archive.writestr(zipfile.ZipInfo(member.as_posix(), _DATE), (folder / member).read_bytes())
    return buffer.getvalue()
