"""The scripts for Nuke and Natron, run against stand-ins of the hosts' own modules."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import ofx_host
import pytest
from copycat import runs

HOSTS = ofx_host.ROOT / "hosts"


@pytest.fixture(autouse=True)
def clean_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(HOSTS / "natron")])
    for name in ("copycat_hosts", "copycat_natron"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two runs with checkpoints; the older one is the active one."""
    for run, steps in (("first", (900, 1000)), ("second", (5000,))):
        (tmp_path / f"{run}.summary").write_text("")
        for step in steps:
            (tmp_path / f"{run}_{step}.cat").write_text("")
    runs.Display(tmp_path, active="first").write()
    return tmp_path


class Node:
    """As much of a Nuke node as the scripts use."""

    def __init__(self, node_class: str, **knobs: str) -> None:
        self.node_class, self.inputs, self.position = node_class, ["plate"], (0, 0)
        self.knobs = {name: SimpleNamespace(evaluate=lambda v=value: v) for name, value in knobs.items()}

    def __getitem__(self, name: str) -> Any:
        return self.knobs.setdefault(name, SimpleNamespace(setValue=lambda v: self.knobs.update({name: v})))

    def Class(self) -> str:  # noqa: N802
        return self.node_class

    def name(self) -> str:
        return "CopyCat1"

    def input(self, index: int) -> str:
        return self.inputs[index]

    def setInput(self, index: int, node: str) -> None:  # noqa: N802
        self.inputs[index] = node

    def xpos(self) -> int:
        return self.position[0]

    def ypos(self) -> int:
        return self.position[1]

    def setXYpos(self, x: int, y: int) -> None:  # noqa: N802
        self.position = (x, y)


@pytest.fixture
def nuke(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    nuke = MagicMock()

    def create(node_class: str) -> Node:
        nuke.createNode.created = Node(node_class)
        return nuke.createNode.created

    nuke.createNode = MagicMock(side_effect=create)
    nuke.selectedNodes.return_value = []
    monkeypatch.setitem(sys.modules, "nuke", nuke)
    runpy.run_path(str(HOSTS / "nuke" / "init.py"))
    return nuke


def test_nuke_s_button_adds_an_inference_node(nuke: MagicMock, directory: Path) -> None:
    runpy.run_path(str(HOSTS / "nuke" / "menu.py"))
    callback, keywords = nuke.addKnobChanged.call_args.args[0], nuke.addKnobChanged.call_args.kwargs
    assert keywords == {"nodeClass": "OFXorg.copycat.copycat_v1"}
    nuke.thisNode.return_value = Node("OFXorg.copycat.copycat_v1", dataDirectory=str(directory))
    nuke.thisKnob.return_value.name.return_value = "epochs"
    callback()
    nuke.createNode.assert_not_called()
    nuke.thisKnob.return_value.name.return_value = "createInference"
    callback()
    nuke.createNode.assert_called_once_with("OFXorg.copycat.inference_v1")
    created = nuke.createNode.created
    assert created.knobs["modelFile"] == str(directory / "first_1000.cat")
    assert created.inputs == ["plate"]
    assert created.position == (120, 0)


def test_nuke_s_button_leaves_the_message_to_the_plugin(nuke: MagicMock, tmp_path: Path) -> None:
    runpy.run_path(str(HOSTS / "nuke" / "menu.py"))
    nuke.thisNode.return_value = Node("OFXorg.copycat.copycat_v1", dataDirectory=str(tmp_path))
    nuke.thisKnob.return_value.name.return_value = "createInference"
    nuke.addKnobChanged.call_args.args[0]()
    nuke.createNode.assert_not_called()
    nuke.message.assert_not_called()


def entries(nuke: MagicMock) -> dict[str, Any]:
    """The commands of the menu by name."""
    runpy.run_path(str(HOSTS / "nuke" / "menu.py"))
    return dict(call.args for call in nuke.menu.return_value.addMenu.return_value.addCommand.call_args_list)


@pytest.mark.parametrize("shows_groups", [True, False])
def test_nuke_s_menu_works_in_the_group_that_is_viewed(nuke: MagicMock, directory: Path, shows_groups: bool) -> None:
    if not shows_groups:
        del nuke.lastHitGroup  # before Nuke 15.1
    group = (nuke.lastHitGroup if shows_groups else nuke.thisGroup).return_value
    inside = []
    nuke.createNode.side_effect = lambda name: inside.append((group.__enter__.call_count, group.__exit__.call_count))
    commands = entries(nuke)
    nuke.selectedNodes.return_value = [MagicMock(**{"Class.return_value": "OFXorg.copycat.copycat_v1"})]
    nuke.selectedNodes.return_value[0]["dataDirectory"].evaluate.return_value = str(directory)
    for name in ("CopyCat", "Inference", "Create Inference"):
        commands[name]()
    assert inside == [(1, 0), (2, 1), (3, 2)]


def test_nuke_says_what_is_missing(nuke: MagicMock, tmp_path: Path) -> None:
    commands = entries(nuke)
    commands["Create Inference"]()
    assert "Select a CopyCat node" in nuke.message.call_args.args[0]
    nuke.selectedNodes.return_value = [Node("OFXorg.copycat.copycat_v1", dataDirectory=str(tmp_path))]
    commands["Create Inference"]()
    assert "CopyCat1 has no model yet" in nuke.message.call_args.args[0]
    nuke.createNode.side_effect = RuntimeError("no such node")
    commands["CopyCat"]()
    assert "copycat ofx install" in nuke.message.call_args.args[0]
    assert nuke.message.call_count == 3


def test_natron_s_menu_and_button(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    gui = MagicMock()
    monkeypatch.setitem(sys.modules, "NatronGui", gui)
    runpy.run_path(str(HOSTS / "natron" / "init.py"))
    script = runpy.run_path(str(HOSTS / "natron" / "initGui.py"))
    commands = dict(call.args for call in gui.natron.addMenuCommand.call_args_list)
    assert {script[function].__name__ for function in commands.values()} == set(commands.values())
    app = gui.natron.getGuiInstance.return_value
    script["createCopycat"]()
    node = app.createNode.return_value
    node.getParam.return_value.set.assert_called_once_with("copycat_natron.param_changed")

    node.getPluginID.return_value = "org.copycat.CopyCat"
    node.getParam.return_value.get.return_value = str(directory)
    node.getPosition.return_value = (10, 20)
    import copycat_natron

    button = MagicMock()
    button.getScriptName.return_value = "createInference"
    copycat_natron.param_changed(button, node, app, app, True)
    assert app.createNode.call_args.args == ("org.copycat.Inference",)
    assert node.getParam.return_value.set.call_args.args == (str(directory / "first_1000.cat"),)
    assert node.setPosition.call_args.args == (160, 20)

    app.getSelectedNodes.return_value = []
    script["createCopycatInference"]()
    assert "Select" in gui.natron.warningDialog.call_args.args[1]


def test_scripts_find_the_same_model_as_the_worker(directory: Path, tmp_path: Path) -> None:
    sys.path.append(str(HOSTS))
    import copycat_hosts
    from copycat.worker.rendering import choose_model

    assert copycat_hosts.newest_model(str(directory)) == str(choose_model(str(directory), 0))
    (directory / "copycat.json").write_text("{")
    assert copycat_hosts.newest_model(str(directory)) == str(choose_model(str(directory), 0))
    assert copycat_hosts.newest_model(str(tmp_path / "nowhere")) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    assert copycat_hosts.newest_model(str(empty)) is None
