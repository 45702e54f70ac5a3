"""Presets: what each sets, and what takes precedence, in every way that settings come in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import ofx_host
import pytest
from conftest import Outcome, Shot
from copycat.runs import find_run, read_provenance
from copycat.settings.knob import SettingsError
from copycat.settings.presets import PRESETS, preset_values
from copycat.settings.tables import Settings


def test_every_preset_sets_the_same_knobs_to_values_that_these_allow() -> None:
    fields = {frozenset(values) for values in PRESETS.values()}
    assert len(fields) == 1
    for name, values in PRESETS.items():
        settings = Settings().replace(preset=name)
        assert {field: getattr(settings, field) for field in values} == values
        others = {field for field in Settings().__dict__ if field not in {"preset", *values}}
        assert {field: getattr(settings, field) for field in others} == {
            field: getattr(Settings(), field) for field in others
        }


def test_a_preset_in_any_spelling() -> None:
    assert Settings().replace(preset="roto") == Settings.from_dict({"preset": "ROTO"})
    assert Settings().replace(preset="clean-up").difference_share == 0.75
    assert preset_values("None") == preset_values("unknown") == {}
    with pytest.raises(SettingsError, match=r"Preset \(preset\) is one of None, Roto, .*, not 'Rotoscope'"):
        Settings().replace(preset="Rotoscope")


def test_what_is_given_takes_precedence(tmp_path: Path) -> None:
    settings = Settings().replace(preset="Roto", ground_truth_channels="matte.A", minutes=2)
    assert (settings.ground_truth_channels, settings.matte, settings.minutes) == ("matte.A", "On", 2)
    # A checkpoint to start from contradicts the preset's Initial Weights, which give way.
    assert Settings().replace(preset="Roto", checkpoint_file="a.cat").initial_weights == "Checkpoint"
    # Of a file and an option, the option is the later one.
    file = tmp_path / "knobs.json"
    file.write_text(json.dumps({"preset": "Grade", "matte": "Auto", "epochs": 7}))
    from_file = Settings.from_file(file)
    assert (from_file.matte, from_file.difference_share, from_file.epochs) == ("Auto", 0, 7)
    assert from_file.replace(preset="Roto").matte == "On"


def test_a_stored_run_comes_back_as_it_was() -> None:
    settings = Settings().replace(preset="Roto").replace(matte="Off")
    assert Settings.from_dict(settings.to_dict()) == settings
    assert settings.replace(epochs=5).matte == "Off"  # the preset is not applied a second time


def test_on_the_command_line(copycat: Callable[..., Outcome], shot: Shot, tmp_path: Path) -> None:
    knobs = ("--initial-weights", "none", "--model-size", "small", "--crop-size", "32", "--epochs", "1")
    status, _, error = copycat("train", shot.input, shot.ground_truth, "-d", tmp_path, "--preset", "deblur", *knobs)
    assert status == 0, error
    stored = read_provenance(find_run(tmp_path))["settings"]
    assert (stored["preset"], stored["initialWeights"], stored["matte"]) == ("Deblur", "None", "Off")


def test_in_a_host_a_preset_sets_the_other_knobs(tmp_path: Path) -> None:
    knobs = {knob.field: knob for knob in Settings.knobs()}
    with ofx_host.Host(tmp_path, {"COPYCAT_PYTHON": str(ofx_host.stand_in(tmp_path))}) as host:
        host.create("CopyCat", "General")

        def choose(preset: str) -> dict[str, object]:
            number = knobs["preset"].choices.index(preset)
            assert host.do("change", param="preset", value=number, time=1)["status"] == 0, host.messages()
            values = {}
            for field in PRESETS["Roto"]:
                value = host.do("get", param=knobs[field].name)["value"]
                values[field] = knobs[field].choices[value] if knobs[field].choices else value
            return values

        assert choose("Roto") == PRESETS["Roto"]
        assert choose("Grade") == PRESETS["Grade"]
        assert choose("None") == PRESETS["Grade"]  # what was set stays
