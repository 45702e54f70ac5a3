"""Nuke runs this from NUKE_PATH in its interface: a menu for copycat, and a node for the button Create Inference."""

import copycat_hosts
import nuke


def node_class(identifier):
    """Nuke's class of an OpenFX plugin: OFX, the identifier in lower case, _v and the major version."""
    return f"OFX{identifier.lower()}_v1"


def viewed_group():
    """The group whose node graph was clicked last; before Nuke 15.1, which shows one at a time, the current one."""
    return nuke.lastHitGroup() if hasattr(nuke, "lastHitGroup") else nuke.thisGroup()


def create(identifier):
    """Makes a node at the selected one, or says what to do when Nuke did not load the plugin."""
    try:
        return nuke.createNode(node_class(identifier))
    except RuntimeError:
        nuke.message(
            f"Nuke has not loaded {identifier}. Run 'copycat ofx install' and start Nuke again; "
            "'copycat ofx doctor' says what is wrong."
        )
        return None


def create_inference(node, model):
    """Adds an Inference node beside a CopyCat node, with a model and the same input, and returns it."""
    for selected in nuke.selectedNodes():
        selected.setSelected(False)
    inference = create(copycat_hosts.INFERENCE)
    if inference is not None:
        inference["modelFile"].setValue(model)
        inference.setInput(0, node.input(0))
        inference.setXYpos(node.xpos() + 120, node.ypos())
    return inference


def newest_model(node):
    """The path of the newest model of a CopyCat node's active run, or None."""
    return copycat_hosts.newest_model(node["dataDirectory"].evaluate() or "")


def create_in_viewed_group(identifier):
    """The menu's entries CopyCat and Inference."""
    with viewed_group():
        create(identifier)


def create_inference_at_selection():
    """The menu's entry Create Inference."""
    with viewed_group():
        nodes = [node for node in nuke.selectedNodes() if node.Class() == node_class(copycat_hosts.COPYCAT)]
        if not nodes:
            nuke.message("Select a CopyCat node first.")
            return
        model = newest_model(nodes[0])
        if model is None:
            nuke.message(f"{nodes[0].name()} has no model yet: press Start Training and wait for the first checkpoint.")
            return
        create_inference(nodes[0], model)


def knob_changed():
    """Called by Nuke for every knob of a CopyCat node. What the button has to say, the plugin says itself."""
    if nuke.thisKnob().name() == "createInference":
        model = newest_model(nuke.thisNode())
        if model is not None:
            create_inference(nuke.thisNode(), model)


def add_menu():
    """Adds copycat to the Nodes toolbar."""
    menu = nuke.menu("Nodes").addMenu("copycat")
    menu.addCommand("CopyCat", lambda: create_in_viewed_group(copycat_hosts.COPYCAT))
    menu.addCommand("Inference", lambda: create_in_viewed_group(copycat_hosts.INFERENCE))
    menu.addCommand("Create Inference", create_inference_at_selection)


add_menu()
nuke.addKnobChanged(knob_changed, nodeClass=node_class(copycat_hosts.COPYCAT))
