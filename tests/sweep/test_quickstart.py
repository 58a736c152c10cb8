"""The README's first command, made small: real collisions, teacher, students and a front."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from sweep.study_file import find_study_file, load_study_file

#: What is cut down, by path; everything else is as users get it.
SMALLER: dict[str, Any] = {
    "dataset.source.zero_bias": 3000,
    "dataset.source.signal_events": 60,
    "dataset.source.pool": 400,
    "teacher.epochs": 1,
    "student.hidden": 4,
    "quantization.weights.bits": {"low": 3, "high": 4},
    "training.epochs": 8,
    "training.batch": 64,
    "budget.trials": 2,
    "harvest": {"points": 2},
    "continuation": {"epochs": 8},
    "sampler": {"name": "tpe", "startup_trials": 8},
    "dataset.deposits": 500,
}


def smaller_quickstart(folder: Path) -> Path:
    content = yaml.safe_load(find_study_file("quickstart").read_text())
    for path, value in SMALLER.items():
        *parents, name = path.split(".")
        section = content
        for parent in parents:
            section = section[parent]
        section[name] = value
    # In YAML 1.1, as PyYAML reads it, 5e-5 is text.
    content["training"]["beta"] = {"initial": 5e-5, "final": {"low": 5e-5, "high": 1e-3, "log": True}}
    content["training"]["learning_rate"] = {"low": 4e-3, "high": 2e-2, "log": True}
    file = folder / "quickstart.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def sweep(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "sweep", *arguments],
        env={**os.environ, "SWEEP_HOME": str(folder / "home"), "SWEEP_STORAGE": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_nothing_to_a_front_of_real_students(tmp_path: Path) -> None:
    file = smaller_quickstart(tmp_path)
    shown = sweep(tmp_path, "run", str(file), "--workers", "2")
    assert "Front of quickstart" in shown

    front = json.loads(sweep(tmp_path, "front", "quickstart", "--json"))
    assert front["points"]
    assert {o["name"] for o in front["objectives"]} == {"mean_auc", "lut"}
    signals = set(load_study_file(file).dataset.source.signals)
    for point in front["points"]:
        assert set(point["test"]["auc"]) == signals, "exposure is never scored"
        assert {p.name for p in Path(point["student"]).iterdir()} == {
            "student.keras",
            "network.npz",
            "adder_graph.json.gz",
            "student.json",
        }

    status = json.loads(sweep(tmp_path, "status", "quickstart", "--json"))
    assert status["runs"]["done"] == status["runs"]["budget"] == 2
    assert "is done" in sweep(tmp_path, "run", str(file))

    chosen = json.loads(sweep(tmp_path, "promote", "quickstart", "--top", "2", "--seeds", "1", "--json"))
    assert chosen
    for candidate in chosen:
        assert candidate["new"]
        assert candidate["test"]["auc"].keys() == signals
        assert len(candidate["spread"]["seeds"]) + len(candidate["spread"]["failed"]) == 1
    sweep(tmp_path, "synthesize", "quickstart")
    front = json.loads(sweep(tmp_path, "front", "quickstart", "--json"))
    synthesized = {p["trial"]: p["synthesis"] for p in front["points"] if p["synthesis"]}
    assert synthesized.keys() == {candidate["trial"] for candidate in chosen}
    for (result,) in synthesized.values():
        assert result["tool"] == "yosys"
        assert result["lut"] > 0
    again = json.loads(sweep(tmp_path, "promote", "quickstart", "--top", "2", "--json"))
    assert [c["outcome"] for c in again] == ["ok"] * len(chosen)
    assert not any(c["new"] for c in again)


def test_the_packaged_quickstart_keeps_its_promises() -> None:
    file = load_study_file(find_study_file("quickstart"))
    assert file.budget.trials >= 12
    assert file.budget.trials * (1 + file.harvest.points) >= 60
    assert file.constraints["latency_ns"].max == 200
