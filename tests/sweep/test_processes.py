"""What workers tell XLA before TensorFlow is imported."""

import os
import subprocess
import sys

import pytest

from sweep.processes import COMPILE_SOONER, compile_sooner


@pytest.mark.parametrize(
    ("users", "expected"),
    [
        ("", COMPILE_SOONER),
        ("--xla_cpu_max_isa=AVX2", f"{COMPILE_SOONER} --xla_cpu_max_isa=AVX2"),
        (f"--xla_cpu_max_isa=AVX2 {COMPILE_SOONER}", f"--xla_cpu_max_isa=AVX2 {COMPILE_SOONER}"),
    ],
)
def test_flags_of_the_user_stay(monkeypatch: pytest.MonkeyPatch, users: str, expected: str) -> None:
    monkeypatch.setenv("XLA_FLAGS", users)
    compile_sooner()
    assert os.environ["XLA_FLAGS"] == expected
    compile_sooner()
    assert os.environ["XLA_FLAGS"] == expected, "once, also in a process that goes on as another program"


def test_xla_knows_the_flag() -> None:
    """An unknown flag would end the process: a version of TensorFlow may no longer have it."""
    code = "import tensorflow as tf; print(float(tf.function(lambda x: x * 3, jit_compile=True)(2.0)))"
    environment = {**os.environ, "XLA_FLAGS": COMPILE_SOONER, "TF_CPP_MIN_LOG_LEVEL": "3"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "6.0\n"), found.stderr
