"""One file, several studies: variants of it and repeats from other seeds, all under the same budget.

    study: granularity
    variants:
      channel: {quantization.weights.granularity: channel, quantization.data.granularity: channel}
      layer: {quantization.weights.granularity: layer, quantization.data.granularity: layer}
    seeds: [1, 2]

is the studies granularity-channel-1, granularity-layer-1, granularity-channel-2 and
granularity-layer-2. Everything else they share.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.errors import StudyFileError
from sweep.search.space import show
from sweep.study_file import (
    SEEDS,
    VARIANTS,
    StudyFile,
    packaged_studies,
    parse_study,
    read_study_content,
)

#: What a variant must not change: beside another of these, its front would say nothing.
SHARED = ("study", "dataset", "objectives", "constraints", "hardware", "budget", "seed")


@dataclass(frozen=True)
class Variant:
    """One study of a file, under the name that it shares with its repeats."""

    name: str
    file: StudyFile


def load_studies(path: Path) -> list[Variant]:
    """Return the studies of a file, in the order to run them: one of each variant, then the next seed.

    A file without variants and seeds is one study. Raises StudyFileError, as `load_study_file` does.
    """
    content = read_study_content(path)
    variants, seeds = _variants(content, path), _seeds(content, path)
    study = content.get("study")
    if (variants is None and seeds is None) or not isinstance(study, str):
        return [Variant(str(study), parse_study(content, path))]
    found = []
    for seed in [None] if seeds is None else seeds:
        for variant, values in (variants or {"": {}}).items():
            changed = copy.deepcopy({k: v for k, v in content.items() if k not in (VARIANTS, SEEDS)})
            for key, value in values.items():
                _set(changed, key, value, f"{path}: {VARIANTS}.{variant}")
            parts = [study, variant, "" if seed is None else str(seed)]
            changed["study"] = "-".join(part for part in parts if part)
            if seed is not None:
                changed["seed"] = seed
            found.append(Variant(variant or study, parse_study(changed, path)))
    return found


def groups_of(text: str) -> dict[str, list[str]] | None:
    """Return the names of the studies of a file by variant; None for what is not a file of several."""
    path = packaged_studies().get(text)
    if text.endswith((".yaml", ".yml")):
        path = Path(text)
    if path is None:
        return None
    studies = load_studies(path)
    if len(studies) == 1:
        return None
    groups: dict[str, list[str]] = {}
    for variant in studies:
        groups.setdefault(variant.name, []).append(variant.file.study)
    return groups


def _variants(content: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]] | None:
    variants = content.get(VARIANTS)
    if variants is None:
        return None
    good = isinstance(variants, dict) and variants and all(isinstance(v, dict) for v in variants.values())
    if not good:
        raise StudyFileError(
            f"{path}: {VARIANTS}: must give each variant a name and the values that it changes, by path"
        )
    for name in variants:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._]*", name):
            raise StudyFileError(
                f"{path}: {VARIANTS}: a name is letters, digits, '.' and '_', not {show(name)}"
            )
    return dict(variants)


def _seeds(content: Mapping[str, Any], path: Path) -> list[int] | None:
    seeds = content.get(SEEDS)
    if seeds is None:
        return None
    good = isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)
    if not good or len(set(seeds)) < len(seeds):
        raise StudyFileError(f"{path}: {SEEDS}: must be a list of different whole numbers from 0 on")
    if "seed" in content:
        raise StudyFileError(f"{path}: seed: must not be given beside {SEEDS}, which has one for each study")
    return list(seeds)


def _set(content: dict[str, Any], key: str, value: Any, where: str) -> None:
    """Give the value at a dotted path; sections that are not there are made."""
    *sections, last = key.split(".")
    if (section := [*sections, last][0]) in SHARED:
        raise StudyFileError(
            f"{where}: {key}: studies of one file share {section}, or they could not be compared"
        )
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise StudyFileError(f"{where}: {key}: {section} is no section")
    content[last] = value
