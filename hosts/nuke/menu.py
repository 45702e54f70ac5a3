"""Read by Nuke's interface from NUKE_PATH: a menu for copycat, and a real node behind Create Inference."""

import copycat_hosts
import nuke


def node_class(identifier):
    """Nuke's class of an OpenFX plugin: OFX, the identifier in lower case, _v and the major version."""
    return f"OFX{identifier.lower()}_v1"


def create(identifier):
    """Makes a node at the selected one, and says what to do when Nuke did not load the plugin."""
    try:
        return nuke.createNode(node_class(identifier))
    except RuntimeError:
        nuke.message(
            f"Nuke has not loaded {identifier}. Run 'copycat ofx install' and start Nuke again; "
            "'copycat ofx doctor' says what is wrong."
        )
        return None


def create_inference(node):
    """Adds an Inference node beside a CopyCat node, with the newest model and the same input."""
    model = copycat_hosts.newest_model(node["dataDirectory"].evaluate() or "")
    if model is None:
        nuke.message(f"{node.name()} has no checkpoint yet: start a training first.")
        return None
    for selected in nuke.selectedNodes():
        selected.setSelected(False)
    inference = create(copycat_hosts.INFERENCE)
    if inference is not None:
        inference["modelFile"].setValue(model)
        inference.setInput(0, node.input(0))
        inference.setXYpos(node.xpos() + 120, node.ypos())
    return inference


def create_inference_at_selection():
    """The menu's entry."""
    nodes = [node for node in nuke.selectedNodes() if node.Class() == node_class(copycat_hosts.COPYCAT)]
    if not nodes:
        nuke.message("Select a CopyCat node first.")
        return
    create_inference(nodes[0])


def knob_changed():
    """Called by Nuke for every knob of a CopyCat node."""
    if nuke.thisKnob().name() == "createInference":
        create_inference(nuke.thisNode())


def add_menu():
    """Puts the entries into the toolbar."""
    menu = nuke.menu("Nodes").addMenu("copycat")
    menu.addCommand("CopyCat", lambda: create(copycat_hosts.COPYCAT))
    menu.addCommand("Inference", lambda: create(copycat_hosts.INFERENCE))
    menu.addCommand("Create Inference", create_inference_at_selection)


add_menu()
nuke.addKnobChanged(knob_changed, nodeClass=node_class(copycat_hosts.COPYCAT))
