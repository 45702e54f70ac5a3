"""Mutated .cat files: each is refused with one sentence, or is a model that renders."""

from __future__ import annotations

import copy
import json
import math
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Outcome, picture, random_model
from copycat.cli.describe import describe
from copycat.errors import CopycatError
from copycat.inference.model import Model
from copycat.model import cat
from fuzzing import for_minutes, new_seed, time_is_left

CPU = torch.device("cpu")
NUMBERS = [0, -1, 1, 7, 1e308, -1e308, 1e-320, 5e-324, math.nan, math.inf, 1 << 63, 10**400, 0.5, 3.4e38, 1e-38, True]
OTHERS = [None, "", "x", "\ud800", "\x1b[31m", "a" * 5000, [], [[]], {}, {"a": 1}, [1] * 2000, ["R"] * 5, "1", "[bold]"]


def values(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values in a JSON object."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in values(one, (*path, key)))]


def mutated_header(data: bytes, source: random.Random) -> bytes:
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])
    inner = json.loads(head["__metadata__"]["copycat"])
    value = inner if source.random() < 0.8 else head
    for _ in range(source.randint(1, 3)):
        path = source.choice(values(value)[1:])
        parent = value
        for key in path[:-1]:
            parent = parent[key]
        if source.random() < 0.15:
            del parent[path[-1]]
        else:
            parent[path[-1]] = copy.deepcopy(source.choice(NUMBERS + OTHERS))
    if value is inner:
        head["__metadata__"]["copycat"] = json.dumps(inner)
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + size :]


def mutated_bytes(data: bytes, source: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(source.randint(1, 20)):
        at = source.randrange(len(changed)) if source.random() < 0.5 else source.randrange(min(len(changed), 3000))
        changed[at] = source.randrange(256)
    if source.random() < 0.3:
        del changed[source.randrange(len(changed)) :]
    if source.random() < 0.1:
        changed[0:8] = struct.pack(
            "<Q", source.choice([0, 1, 2**63, 2**64 - 1, len(changed), max(len(changed) - 8, 0)])
        )
    return bytes(changed)


def attempt(path: Path) -> None:
    """Reads and applies a model; CopycatError is the only exception there is."""
    image = picture(1, (24, 16))
    try:
        describe(path, as_json=False)
        result = Model(path, CPU)(image)
    except CopycatError:
        return
    assert result.shape[:2] == image.shape[:2]


def mutate(path: Path, seed: int, goes_on: Callable[[int], bool]) -> None:
    whole, source, done = path.read_bytes(), random.Random(seed), 0
    while goes_on(done):
        try:
            data = (mutated_header if source.random() < 0.7 else mutated_bytes)(whole, source)
        except (KeyError, TypeError, IndexError):
            continue  # the second mutation's path is gone with the first
        path.write_bytes(data)
        try:
            attempt(path)
        except Exception:
            print(f"mutation {done} of seed {seed}: {path}")
            raise
        done += 1


def test_some_mutations(tmp_path: Path, tiny: None, one_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    mutate(random_model(tmp_path / "m.cat", log_scale=20.0), 1, lambda done: done < 150)


@for_minutes
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_many_mutations(tmp_path: Path, tiny: None, one_thread: None) -> None:
    mutate(random_model(tmp_path / "m.cat", log_scale=20.0), new_seed(), time_is_left())


@pytest.mark.parametrize(
    "changes",
    [
        {"inputEncoding": {"log_scale": [-1.0] * 3}},
        {"inputEncoding": {"log_scale": [1e308] * 3}},
        {"targetEncoding": {"std": [1e-310] * 3}},
        {"targetEncoding": {"mean": [1e39] * 3}},
        {"settings": [1, 2]},
        {"settings": "x" * (2 << 20)},
        {"settings": {"run": "\ud800"}},
        {"loss": "x" * 100},
        {"loss": [1]},
        {"level": 0},
        {"step": -1},
        {"step": 10**30},
        {"channelsIn": ["\udcff", "G", "B"]},
    ],
    ids=lambda changes: str(changes)[:60],
)
def test_numbers_that_cannot_be_used(tmp_path: Path, tiny: None, changes: dict[str, Any]) -> None:
    path = random_model(tmp_path / "m.cat")
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + size])
    inner = json.loads(head["__metadata__"]["copycat"])
    for name, value in changes.items():
        inner[name] = {**inner[name], **value} if name.endswith("Encoding") else value
    head["__metadata__"]["copycat"] = json.dumps(inner)
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    with pytest.raises(cat.ModelFileError, match="header is damaged"):
        cat.load(path)


def test_a_loss_that_is_no_number_is_none(tmp_path: Path, tiny: None) -> None:
    path = random_model(tmp_path / "m.cat")
    header, weights = cat.load(path)
    text = header.to_json().replace('"loss": 0.5', '"loss": NaN')
    assert cat.ModelHeader.from_json(text).loss is None
    name = next(iter(weights))
    cat.save(path, header, weights | {name: torch.full_like(weights[name], math.nan)})
    with pytest.raises(cat.ModelFileError, match=f"weight {name} has values that are no finite numbers"):
        cat.load(path)


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null", "fifo", "folder"])
@pytest.mark.parametrize("suffix", [".cat", ".exr"])
def test_files_that_are_none_are_a_sentence(
    tmp_path: Path, copycat: Callable[..., Outcome], name: str, suffix: str
) -> None:
    path = tmp_path / f"special{suffix}"
    if name == "fifo":
        os.mkfifo(path)
    elif name == "folder":
        path.mkdir()
    else:
        path.symlink_to(name)
    status, _, err = copycat("info", path)
    assert status == 1
    assert err.startswith(f"error: {path}")
    assert len(err.splitlines()) == 1
