"""What the plugins tell a host of themselves: every context, every knob, nothing twice, no thread or process."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ofx_host
import pytest
from copycat.settings.knob import Knob, choice_label
from copycat.settings.tables import COPYCAT_KNOBS, INFERENCE_KNOBS
from fuzzing import SECONDS, for_minutes, new_seed

TABLES = {"CopyCat": COPYCAT_KNOBS, "Inference": INFERENCE_KNOBS}
TYPES = {
    "bool": "Boolean",
    "int": "Integer",
    "float": "Double",
    "choice": "Choice",
    "button": "PushButton",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ofx_host.Host]:
    with ofx_host.Host(tmp_path_factory.mktemp("host")) as host:
        yield host


def rows(plugin: str) -> list[Knob]:
    return [knob for knob in TABLES[plugin] if "ofx" in knob.shown_on]


def test_bundle_exports_the_entry_points_alone_and_links_nothing_else() -> None:
    binary = ofx_host.binary(ofx_host.bundle())
    symbols = subprocess.run(["nm", "-D", "--defined-only", binary], capture_output=True, text=True, check=True).stdout
    assert sorted(line.split()[-1] for line in symbols.splitlines()) == [
        "OfxGetNumberOfPlugins",
        "OfxGetPlugin",
        "OfxSetHost",
    ]
    linked = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    for library in ("libstdc++", "libgcc", "python", "torch", "cuda"):
        assert library not in linked
    assert binary.parent.parent.parent.name == "copycat.ofx.bundle"


@pytest.mark.parametrize("sanitize", [False, True])
def test_parts_that_need_no_host(sanitize: bool) -> None:
    program = ofx_host.build(sanitize) / "tests" / "ofx_parts_test"
    golden = ofx_host.ROOT / "tests" / "ofx" / "golden_frames.txt"
    done = subprocess.run([program, golden], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) > 500


@for_minutes
def test_what_the_plugin_reads_with_bytes_changed_for_minutes() -> None:
    program = ofx_host.build(sanitize=True) / "tests" / "ofx_parts_test"
    golden = ofx_host.ROOT / "tests" / "ofx" / "golden_frames.txt"
    done = subprocess.run([program, golden, str(SECONDS), str(new_seed())], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("context", ["General", "Filter"])
@pytest.mark.parametrize("plugin", ["CopyCat", "Inference"])
def test_every_knob_is_a_parameter_as_the_table_says(host: ofx_host.Host, plugin: str, context: str) -> None:
    answer = host.do("describe", plugin=plugin, context=context)
    assert answer["status"] == 0
    params = {row["name"]: row for row in answer["params"]}
    assert len(params) == len(answer["params"])
    for knob in rows(plugin):
        row = params[knob.name]
        assert row["type"] == "OfxParamType" + TYPES.get(knob.kind, "String")
        assert row["OfxPropLabel"] == [knob.label]
        assert row["OfxParamPropHint"] == [knob.hint]
        check_value(knob, row)
    pages = {row["OfxPropLabel"][0]: row["OfxParamPropPageChild"] for row in answer["params"] if "Page" in row["type"]}
    assert {page: set(names) for page, names in pages.items()} == {
        page: {knob.name for knob in rows(plugin) if knob.page == page} for page in {k.page for k in rows(plugin)}
    }
    assert host.messages() == []


def check_value(knob: Knob, row: dict[str, Any]) -> None:
    default = row.get("OfxParamPropDefault", [None])[0]
    if knob.kind == "choice":
        assert row["OfxParamPropChoiceOption"] == [choice_label(choice) for choice in knob.choices]
        assert knob.choices[int(default)] == knob.default
    elif knob.kind in ("info", "table"):
        assert row["OfxParamPropEnabled"] == row["OfxParamPropEvaluateOnChange"] == row["OfxParamPropCanUndo"] == [0]
        assert row["OfxParamPropPersistant"] == [int(knob.kept)]
        assert knob.name == "gpuName" or default == (knob.default or "")
        lines = knob.kind == "table" or "\n" in default
        assert row["OfxParamPropStringMode"] == [f"OfxParamStringIs{'MultiLine' if lines else 'SingleLine'}"]
    elif knob.kind != "button":
        assert default == knob.default
    if knob.kind in ("int", "float"):
        slider = knob.display or (knob.minimum, knob.maximum)
        for bound, limit, end in (("Min", knob.minimum, slider[0]), ("Max", knob.maximum, slider[1])):
            assert limit is None or row[f"OfxParamProp{bound}"] == [limit]
            assert row[f"OfxParamPropDisplay{bound}"] == [end]
        low, high = (row[f"OfxParamPropDisplay{bound}"][0] for bound in ("Min", "Max"))
        assert row["OfxParamPropMin"][0] <= low <= default <= high <= row["OfxParamPropMax"][0]
        assert high <= 100_000  # a slider that a hand can set
    modes = {"file": "FilePath", "directory": "DirectoryPath"}
    if knob.kind in modes:
        assert row["OfxParamPropStringMode"] == [f"OfxParamStringIs{modes[knob.kind]}"]
        assert row["OfxParamPropStringFilePathExists"] == [1]


def test_pages_stand_in_the_product_s_order(host: ofx_host.Host) -> None:
    order = host.do("describe", plugin="CopyCat")["param_set"]["OfxPluginPropParamPageOrder"]
    assert order == ["pageCopyCat", "pageAdvanced", "pageProgress", "pagePython"]


def test_a_host_without_pages_gets_groups(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path, pages=0) as host:
        params = {row["name"]: row for row in host.do("describe", plugin="CopyCat")["params"]}
    assert not any("Page" in row["type"] for row in params.values())
    for knob in rows("CopyCat"):
        assert params[knob.name]["OfxParamPropParent"] == [f"group{knob.page}"]
        assert params[f"group{knob.page}"]["type"] == "OfxParamTypeGroup"


@pytest.mark.parametrize(
    ("plugin", "context", "mandatory", "optional"),
    [
        ("CopyCat", "General", {"Input", "GroundTruth", "Output"}, {"Preview"}),
        ("CopyCat", "Filter", {"Source", "Output"}, {"GroundTruth", "Preview"}),
        ("Inference", "General", {"Source", "Output"}, set()),
        ("Inference", "Filter", {"Source", "Output"}, set()),
    ],
)
def test_clips(host: ofx_host.Host, plugin: str, context: str, mandatory: set[str], optional: set[str]) -> None:
    clips = host.do("describe", plugin=plugin, context=context)["clips"]
    assert {name for name, row in clips.items() if row["OfxImageClipPropOptional"] == [0]} == mandatory
    assert {name for name, row in clips.items() if row["OfxImageClipPropOptional"] == [1]} == optional
    temporal = [1] if plugin == "CopyCat" else [0]
    for row in clips.values():
        assert set(row["OfxImageEffectPropSupportedComponents"]) == {
            "OfxImageComponentRGBA",
            "OfxImageComponentRGB",
            "OfxImageComponentAlpha",
        }
        assert row["OfxImageEffectPropTemporalClipAccess"] == temporal


def test_effect_properties(host: ofx_host.Host) -> None:
    effect = host.do("describe", plugin="CopyCat")["effect"]
    assert effect["OfxImageEffectPropSupportedContexts"] == [
        "OfxImageEffectContextGeneral",
        "OfxImageEffectContextFilter",
    ]
    assert len(effect["OfxImageEffectPropSupportedPixelDepths"]) == 4
    assert effect["OfxImageEffectPluginPropHostFrameThreading"] == [0]
    assert effect["OfxImageEffectPropSupportsTiles"] == [0]


def test_nothing_is_started_before_it_is_needed(tmp_path: Path) -> None:
    with ofx_host.Host(tmp_path) as host:
        for plugin in TABLES:
            host.do("describe", plugin=plugin)
            assert host.create(plugin, "General", instance=plugin) == 0
        assert host.do("measure")["threads"] == 1
        children = Path(f"/proc/{host.process.pid}/task/{host.process.pid}/children").read_text()
        assert children.split() == []


def test_misuse_gives_a_status_and_never_a_crash(host: ofx_host.Host) -> None:
    for plugin in TABLES:
        assert host.do("misuse", plugin=plugin)["status"] != 0
        assert host.do("misuse", plugin=plugin, action="OfxActionNobodyKnows")["status"] in (9, 14)
        for action in ("OfxActionDescribe", "OfxImageEffectActionRender", "OfxActionCreateInstance"):
            assert host.do("misuse", plugin=plugin, action=action)["status"] != 0
        host.create(plugin, instance="bare")
        for action in ("Render", "IsIdentity", "GetRegionOfDefinition", "GetRegionsOfInterest", "GetFramesNeeded"):
            host.do("misuse", plugin=plugin, instance="bare", action="OfxImageEffectAction" + action)
        host.do("misuse", plugin=plugin, instance="bare", action="OfxActionInstanceChanged")
        host.do("destroy", instance="bare")


@pytest.mark.parametrize("missing", ["OfxPropertySuite", "OfxImageEffectSuite", "OfxParameterSuite"])
def test_a_host_without_a_needed_suite_gets_a_message(tmp_path: Path, missing: str) -> None:
    with ofx_host.Host(tmp_path, missing=[missing]) as host:
        assert host.loaded["status"] == [4, 4]
