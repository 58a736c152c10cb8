"""What crosses between this process and the child: one message, JSON and arrays, no code.

A message is two lengths of eight bytes, then so much JSON and so much of NumPy's .npz, unpickled
never.
"""

import io
import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_LENGTHS = struct.Struct("<QQ")


def send(stream: BinaryIO, content: Mapping[str, Any], arrays: Arrays | None = None) -> None:
    """Write one message. Raises BrokenPipeError when the other side is gone."""
    text = json.dumps(content, allow_nan=False).encode()
    packed = io.BytesIO()
    if arrays:
        np.savez(packed, **arrays)  # type: ignore[arg-type]  # its other keywords are not names of ours
    stream.write(_LENGTHS.pack(len(text), packed.tell()))
    stream.write(text)
    stream.write(packed.getbuffer())
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read one message. Raises EOFError when the other side is gone."""
    text_length, packed_length = _LENGTHS.unpack(_read(stream, _LENGTHS.size))
    content: dict[str, Any] = json.loads(_read(stream, text_length))
    if not packed_length:
        return content, {}
    with np.load(io.BytesIO(_read(stream, packed_length)), allow_pickle=False) as packed:
        return content, dict(packed)


def _read(stream: BinaryIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return content


def numbered(state: list[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a student's variables under names that keep their order."""
    return {f"{number:04}": value for number, value in enumerate(state)}


def listed(arrays: Arrays) -> list[NDArray[Any]]:
    """Return what `numbered` was given."""
    return [arrays[name] for name in sorted(arrays)]
