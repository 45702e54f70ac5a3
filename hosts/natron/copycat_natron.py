"""Natron's menu entries and the button Create Inference."""

import os
import sys

_HOSTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if _HOSTS not in sys.path:
    sys.path.append(_HOSTS)

import copycat_hosts  # noqa: E402 - found through the line above


def create_copycat(app):
    """Makes a CopyCat node whose button Create Inference adds a real node."""
    node = app.createNode(copycat_hosts.COPYCAT)
    if node is not None:
        node.getParam("onParamChanged").set("copycat_natron.param_changed")
    return node


def create_inference(app, node):
    """Adds an Inference node beside a CopyCat node, with the newest model and the same input.

    Args:
        app: Natron's project.
        node: the CopyCat node.

    Returns:
        The new node, or None when there is no checkpoint.
    """
    model = copycat_hosts.newest_model(node.getParam("dataDirectory").get() or "")
    if model is None:
        return None
    inference = app.createNode(copycat_hosts.INFERENCE)
    if inference is None:
        return None
    inference.getParam("modelFile").set(model)
    source = node.getInput(0)
    if source is not None:
        inference.connectInput(0, source)
    x, y = node.getPosition()
    inference.setPosition(x + 150, y)
    return inference


def param_changed(thisParam, thisNode, thisGroup, app, userEdited):  # noqa: N803 - Natron's own names
    """Called by Natron for every parameter of a CopyCat node that was made from the menu."""
    if userEdited and thisParam.getScriptName() == "createInference":
        create_inference(app, thisNode)
