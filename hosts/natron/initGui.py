"""Natron's interface runs this from NATRON_PLUGIN_PATH: a menu for copycat."""

import copycat_hosts
import copycat_natron
import NatronGui


def createCopycat():  # noqa: N802 - named as Natron's own entries are
    """The menu's entry: a CopyCat node."""
    copycat_natron.create_copycat(NatronGui.natron.getGuiInstance(0))


def createCopycatInference():  # noqa: N802
    """The menu's entry: for each selected CopyCat node, an Inference node with its newest model."""
    app = NatronGui.natron.getGuiInstance(0)
    nodes = [node for node in app.getSelectedNodes() if node.getPluginID() == copycat_hosts.COPYCAT]
    if not nodes:
        NatronGui.natron.warningDialog("copycat", "Select a CopyCat node first.")
    for node in nodes:
        if copycat_natron.create_inference(app, node) is None:
            NatronGui.natron.warningDialog("copycat", f"{node.getScriptName()} has no model yet: train one first.")


NatronGui.natron.addMenuCommand("copycat/CopyCat", "createCopycat")
NatronGui.natron.addMenuCommand("copycat/Create Inference", "createCopycatInference")
