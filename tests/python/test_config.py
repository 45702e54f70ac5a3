"""The table of knobs: names, defaults, ranges, and how values come in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from copycat.settings.knob import SettingsError, camel_case
from copycat.settings.tables import COPYCAT_KNOBS, INFERENCE_KNOBS, InferenceSettings, Settings, table_as_json

DEFAULTS = {
    "useGPUIfAvailable": True,
    "gpuIndex": "Auto",
    "epochs": 10000,
    "minutes": 0,
    "trainingFrames": "all",
    "initialWeights": "None",
    "modelSize": "Medium",
    "batchSizeType": "Auto",
    "batchSize": 8,
    "cropSize": 256,
    "checkpointInterval": 1000,
    "imageInterval": 100,
    "useMultiResolutionTraining": True,
    "cropsPerPair": 1,
    "inputChannels": "rgb",
    "groundTruthChannels": "rgb",
    "seed": 0,
    "bank": "auto",
}
CHOICES = {
    "modelSize": ("Small", "Medium", "Large"),
    "cropSize": (32, 64, 128, 256, 512),
    "initialWeights": ("None", "Checkpoint", "Deblur", "Upscale", "Human Matting"),
    "batchSizeType": ("Auto", "Manual"),
    "bank": ("auto", "device", "host", "disk"),
    "tileSize": (0, 1024, 2048, 4096),
}


def test_names_and_defaults_are_the_products() -> None:
    values = Settings().to_dict()
    assert {name: values[name] for name in DEFAULTS} == DEFAULTS
    assert InferenceSettings().to_dict()["tileSize"] == 0
    assert InferenceSettings().to_dict()["halfPrecision"] is False


def test_choices_are_the_products() -> None:
    knobs = {knob.name: knob for knob in (*COPYCAT_KNOBS, *INFERENCE_KNOBS)}
    assert {name: knobs[name].choices for name in CHOICES} == CHOICES


@pytest.mark.parametrize("table", [COPYCAT_KNOBS, INFERENCE_KNOBS])
def test_every_row_is_whole(table: tuple[Any, ...]) -> None:
    names = [knob.name for knob in table]
    assert len(names) == len(set(names))
    for knob in table:
        assert knob.label
        assert knob.hint.endswith(".")
        assert knob.shown_on
        if knob.field:
            assert knob.name == {"use_gpu_if_available": "useGPUIfAvailable"}.get(knob.field, camel_case(knob.field))
        if knob.choices and knob.default is not None:
            assert knob.default in knob.choices


@pytest.mark.parametrize(
    ("values", "field", "value"),
    [
        ({"cropSize": "64"}, "crop_size", 64),
        ({"crop_size": 64.0}, "crop_size", 64),
        ({"modelSize": "small"}, "model_size", "Small"),
        ({"useMultiResolution": "off"}, "use_multi_resolution_training", False),
        ({"useMultiResolutionTraining": 0}, "use_multi_resolution_training", False),
        ({"gpuIndex": 3}, "gpu_index", "3"),
        ({"dataDirectory": Path("runs")}, "data_directory", "runs"),
        ({"minutes": 2}, "minutes", 2.0),
    ],
)
def test_values_are_taken_as_they_are_meant(values: dict[str, Any], field: str, value: Any) -> None:
    got = getattr(Settings.from_dict(values), field)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"cropSize": 100}, r"Crop Size \(cropSize\) is one of 32, 64, 128, 256, 512, not 100"),
        ({"epochs": 0}, r"Epochs \(epochs\) is at least 1 and at most 10000000, not 0"),
        ({"epochs": 1.5}, r"is a whole number, not 1\.5"),
        ({"epochs": "x"}, "is a number, not 'x'"),
        ({"minutes": float("nan")}, "is a finite number, not nan"),
        ({"modelSize": "Huge"}, "is one of Small, Medium, Large, not 'Huge'"),
        ({"useGPUIfAvailable": "maybe"}, "is on or off, not 'maybe'"),
        ({"inputChannels": 1.5}, "is text, not"),
        ({"seed": 2**40}, "Seed .* is at least 0 and at most"),
        ({"cropsize": 64}, "unknown knob 'cropsize'; the knobs are useGPUIfAvailable"),
        ({"validationInput": "v.exr"}, "needs both Validation Input and Validation Ground Truth"),
        ({"l1Weight": 0, "l2Weight": 0}, "nothing would be learned"),
        ({"initialWeights": "Checkpoint"}, "Checkpoint File is empty"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SettingsError, match=sentence):
        Settings.from_dict(values)


def test_settings_come_back_from_their_file(tmp_path: Path) -> None:
    settings = Settings(epochs=7, model_size="Large", validation_input="a.exr", validation_ground_truth="b.exr")
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(settings.to_dict()))
    assert Settings.from_file(path) == settings


def test_the_table_for_the_plugin_is_json_from_the_standard_library_alone() -> None:
    code = "import sys; from copycat.settings import tables; tables.table_as_json(); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    table = json.loads(table_as_json())
    assert [row["name"] for row in table["copycat"]] == [knob.name for knob in COPYCAT_KNOBS]
    assert [row["name"] for row in table["inference"]] == [knob.name for knob in INFERENCE_KNOBS]
    assert table["presets"]["Roto"]["groundTruthChannels"] == "A"
    assert table["presets"]["Grade"]["differenceShare"] == 0
