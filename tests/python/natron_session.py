"""What an artist does with both effects in Natron; run by NatronRenderer for ``test_natron.py``.

The folder in COPYCAT_SESSION holds ``plate`` and ``clean`` (.####.exr), and gets the pictures (.pfm) and
``report.json``.
"""

import inspect
import json
import os
import time

import copycat_hosts
import copycat_natron

if not hasattr(inspect, "getargspec"):  # which Natron 2.5 asks about callbacks, and Python 3.11 no longer has
    inspect.getargspec = lambda function: inspect.getfullargspec(function)[:4]

FOLDER = os.environ["COPYCAT_SESSION"]
report = {}


def reader(name):
    node = app.createNode("fr.inria.openfx.ReadEXR")  # noqa: F821 - Natron's
    node.getParam("filename").set(os.path.join(FOLDER, name + ".####.exr"))
    return node


def render(node, name, first, last):
    writer = app.createWriter(os.path.join(FOLDER, name + ".####.pfm"))  # noqa: F821
    writer.getParam("formatType").set(0)
    writer.connectInput(0, node)
    app.render(writer, first, last)  # noqa: F821


def inferences():
    return [node for node in app.getChildren() if node.getPluginID() == copycat_hosts.INFERENCE]  # noqa: F821


plate = reader("plate")
copycat = copycat_natron.create_copycat(app)  # noqa: F821
copycat.connectInput(0, plate)
copycat.connectInput(1, reader("clean"))
for knob, value in (("modelSize", "Small"), ("cropSize", 0), ("epochs", 3), ("trainingFrames", "1-3")):
    copycat.getParam(knob).set(value)
copycat.getParam("useMultiResolutionTraining").set(False)
copycat.getParam("dataDirectory").set(os.path.join(FOLDER, "data"))
copycat.getParam("startTraining").trigger()
below = copycat.getParam("NatronOfxParamStringSublabelName")
until = time.time() + 120
while "finished" not in below.get() and time.time() < until:
    time.sleep(0.5)
    copycat.getParam("logScale").set(not copycat.getParam("logScale").get())
report["below the name"] = below.get()
report["runs"] = copycat.getParam("runTable").get()

copycat.getParam("createInference").trigger()
report["inferences"] = len(inferences())
inference = inferences()[0]
report["model"] = inference.getParam("modelFile").get()
report["channels"] = inference.getParam("channelsIn").get()
render(plate, "passed", 1, 1)
render(inference, "result", 1, 3)
copycat.getParam("view").set("Preview")
render(copycat, "preview", 1, 1)
copycat.getParam("view").set("Input")
render(copycat, "input", 1, 1)
inference.getParam("modelFile").set("/nowhere/100%s.cat")
render(inference, "missing", 1, 1)

with open(os.path.join(FOLDER, "report.json"), "w") as stream:
    json.dump(report, stream)
os._exit(0)  # Natron would render all writers once more
