"""A network in a file is the network, and a file that holds none says so."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from objectives.errors import StudentError
from objectives.students.network import Quantize, QuantizedNetwork
from objectives.students.network_file import read_network, write_network
from tests.objectives.students import events
from tests.objectives.test_adder_graph import networks


@settings(max_examples=30, deadline=None)
@given(networks())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, network: QuantizedNetwork) -> None:
    file = tmp_path_factory.mktemp("networks") / "network.npz"
    write_network(file, network)
    read = read_network(file)
    assert read.digest() == network.digest()
    regions = events(1, 10).reshape(-1, 252)[:, 96:112].reshape(-1, 4, 4)
    assert (read.predict(regions) == network.predict(regions)).all()


def test_files_that_hold_no_network(tmp_path: Path) -> None:
    file = tmp_path / "network.npz"
    with pytest.raises(StudentError, match=r"network.npz: there is no such file$"):
        read_network(file)
    for content in (b"", b"PK\x03\x04 cut", b"\x93NUMPY", b"{}"):
        file.write_bytes(content)
        with pytest.raises(StudentError, match="holds no quantized network"):
            read_network(file)
    for arrays in ({"x": np.zeros(3)}, {"network": np.array('{"steps": [{"kind": "Evil"}]}')}):
        np.savez(file, **arrays)
        with pytest.raises(StudentError, match="holds no quantized network"):
            read_network(file)


def test_nothing_pickled_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "network.npz"
    np.savez(file, network=np.array([{"steps": []}], dtype=object))
    with pytest.raises(StudentError, match="holds no quantized network"):
        read_network(file)


def test_a_file_that_was_cut(tmp_path: Path) -> None:
    eight = np.full((2,), 8)
    network = QuantizedNetwork((2,), (Quantize(eight * 0, eight, eight, "SAT", "TRN"),))
    whole, cut = tmp_path / "whole.npz", tmp_path / "cut.npz"
    write_network(whole, network)
    content = whole.read_bytes()
    for length in (10, len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:length])
        with pytest.raises(StudentError):
            read_network(cut)
