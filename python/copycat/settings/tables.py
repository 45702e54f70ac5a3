"""Every knob once: name, label, default, range, hint, and the surfaces that show it. Standard library only.

The command line, the Python API, the OpenFX effects, the worker and the Progress page all loop over
:data:`COPYCAT_KNOBS` and :data:`INFERENCE_KNOBS`. A knob with a value is a field of :class:`Settings` (training),
:class:`InferenceSettings` or :class:`ProgressSettings` (how runs are shown); buttons and read-outs are listed beside
them. Knob names are what scripts use (camelCase); the Python field is the same name in snake_case.

Over 400 lines: one table, a few lines for each knob.

``python -m copycat.settings.tables`` prints both tables as JSON, which the build of the OpenFX plugin reads.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from copycat.settings.knob import CLI_PAGE, HOSTED, OFX, Kind, Knob, SettingsError, Surface, Table, choice_label, knob
from copycat.settings.presets import NONE, PRESETS, preset_values

_GPU_HINT = (
    "Which GPU to use. Auto takes the first suitable GPU. An index that this machine lacks falls back to Auto with a "
    "warning."
)
_USE_GPU_HINT = "Uses the GPU if the machine has one, else the CPU."
_CALLBACK = "A function to call {when}, as module:function. {failure}"
_GRADE_HINT = (
    "Probability that a crop's {what} is multiplied by 0.5 to 2, in Input and Ground Truth alike. Only red, green and "
    "blue of a layer change."
)
_GPUS = ("Auto", "0", "1", "2", "3", "4", "5", "6", "7")
_ABORTS = "An exception in it aborts the render."


@dataclass(frozen=True)
class Settings(Table):
    """Every knob of a training, with the product's defaults."""

    # -- CopyCat
    use_gpu_if_available: bool = knob(
        True, "Use GPU if available", _USE_GPU_HINT, page="CopyCat", name="useGPUIfAvailable"
    )
    gpu_index: str = knob("Auto", "GPU", _GPU_HINT, page="CopyCat", choices=_GPUS)
    preset: str = knob(
        NONE,
        "Preset",
        "Sets other knobs for a kind of work: Ground Truth Channels, Matte, Clean Plate, Initial Weights, Difference "
        "Share. A knob that you set yourself takes precedence.",
        page="CopyCat",
        choices=(NONE, *PRESETS),
    )
    data_directory: str = knob(
        "",
        "Data Directory",
        "The directory for checkpoints, contact sheets and run data.",
        page="CopyCat",
        kind="directory",
    )
    epochs: int = knob(
        10000,
        "Epochs",
        "Passes over the whole data set. Total Steps = Epochs x Data Set Size / Batch Size.",
        page="CopyCat",
        minimum=1,
        maximum=10_000_000,
        display=(1, 50_000),
    )
    minutes: float = knob(
        0.0,
        "Time Limit",
        "Minutes after which training ends with a finished full-resolution model; 0 trains for the number of Epochs.",
        page="CopyCat",
        minimum=0,
        maximum=100_000,
        display=(0, 120),
    )
    training_frames: str = knob(
        "all",
        "Training Frames",
        "Frames to train on, e.g. 1001-1100x5,1200; all takes every frame that both Input and Ground Truth have.",
        page="CopyCat",
    )
    # -- Advanced
    initial_weights: str = knob(
        "None",
        "Initial Weights",
        "What the network starts from: nothing, a checkpoint, or weights trained for one kind of work. Deblur helps "
        "other work on colour too, but not mattes. Human Matting, trained on people, helps other mattes too.",
        choices=("None", "Checkpoint", "Deblur", "Upscale", "Human Matting"),
    )
    checkpoint_file: str = knob(
        "", "Checkpoint File", "The .cat to start from if Initial Weights is Checkpoint.", kind="file"
    )
    model_size: str = knob(
        "Medium",
        "Model Size",
        "Small trains and renders fastest, Large learns the most difficult effects.",
        choices=("Small", "Medium", "Large"),
    )
    batch_size_type: str = knob(
        "Auto",
        "Batch Size",
        "Auto takes all pairs in each step, at most 16, on every machine.",
        choices=("Auto", "Manual"),
    )
    batch_size: int = knob(
        8,
        "Batch Size (Manual)",
        "Pairs in each step if Batch Size is Manual; at most the number of pairs.",
        minimum=1,
        maximum=4096,
        display=(1, 32),
    )
    crop_size: int = knob(
        256, "Crop Size", "Side of the random square crops, in pixels.", kind="choice", choices=(32, 64, 128, 256, 512)
    )
    checkpoint_interval: int = knob(
        1000,
        "Checkpoint Interval",
        "Steps between .cat files; the last step always writes one.",
        minimum=1,
        maximum=10_000_000,
        display=(1, 10_000),
    )
    image_interval: int = knob(
        100, "Contact Sheet Interval", "Steps between contact sheets.", minimum=1, maximum=10_000_000, display=(1, 1000)
    )
    use_multi_resolution_training: bool = knob(
        True,
        "Use Multi-Resolution Training",
        "Trains three stages, at 1/4, 1/2 and full resolution. Switch it off above 100 pairs.",
        alias="useMultiResolution",
    )
    crops_per_pair: int = knob(
        1, "Crops per Pair", "Crops from each pair in a step.", minimum=1, maximum=256, display=(1, 16)
    )
    input_channels: str = knob(
        "rgb", "Input Channels", "Channels of the Input by name, in order, e.g. R,G,B,depth.Z; rgb is R,G,B."
    )
    ground_truth_channels: str = knob(
        "rgb", "Ground Truth Channels", "Channels of the Ground Truth by name, in order, e.g. A; rgb is R,G,B."
    )
    mask_channel: str = knob("", "Mask Channel", "Channel of the Ground Truth that weights the loss, pixel by pixel.")
    non_finite: str = knob(
        "Error",
        "Non-Finite Pixels",
        "NaN and infinite pixels in the training frames: an error that stops the training, or masked out of the loss.",
        choices=("Error", "Mask"),
    )
    watch_training_frames: bool = knob(
        True,
        "Watch Training Frames",
        "Frames that are painted, changed or removed while the training runs are taken in within seconds, if Training "
        "Frames covers them.",
    )
    verify_inputs: bool = knob(
        False,
        "Verify Inputs",
        "Checks the training frames as copycat check does: stops at errors, warns of likely mistakes.",
    )
    align_ground_truth: bool = knob(
        False,
        "Align Ground Truth",
        "Moves each Ground Truth frame back that is shifted against its Input by a fraction of a pixel or more.",
        shown_on=CLI_PAGE,
    )
    seed: int = knob(
        0,
        "Seed",
        "Seed of the random numbers; the same seed trains the same model.",
        minimum=0,
        maximum=2_147_483_647,
        display=(0, 100),
    )
    bank: str = knob(
        "auto",
        "Bank",
        "Where training keeps the data set: on the device, in host memory or on disk; auto picks by free memory.",
        choices=("auto", "device", "host", "disk"),
    )
    validation_input: str = knob(
        "", "Validation Input", "Frames without the effect that are scored and never trained on.", kind="sequence"
    )
    validation_ground_truth: str = knob(
        "", "Validation Ground Truth", "The same frames with the effect.", kind="sequence"
    )
    preview: str = knob(
        "",
        "Preview",
        "A frame outside the data set; the model is applied to it with every contact sheet.",
        kind="sequence",
        shown_on=CLI_PAGE,
    )
    ocio_view: str = knob(
        "",
        "OCIO View",
        "How contact sheets and previews show scene-linear frames: display/view of the OpenColorIO configuration named "
        "by OCIO, else of the built-in one. Empty: the sRGB curve.",
    )
    # -- the loss and what is done to the crops
    l1_weight: float = knob(
        0.0, "L1 Weight", "Weight of the mean absolute error in the loss.", minimum=0, maximum=1e6, display=(0, 1)
    )
    l2_weight: float = knob(
        1.0, "L2 Weight", "Weight of the mean squared error in the loss.", minimum=0, maximum=1e6, display=(0, 1)
    )
    matte: str = knob(
        "Auto",
        "Matte",
        "Whether the Ground Truth is a matte: results stay within 0 and 1, and values beyond do not count as errors. "
        "Auto: channels within 0 and 1 that are mostly 0 or 1.",
        choices=("Auto", "On", "Off"),
    )
    composites: str = knob(
        "Auto",
        "Composites",
        "For mattes: half of the crops show a painted frame's subject moved, turned, scaled and bent over a painted "
        "frame's background. Auto: if one frame is painted.",
        choices=("Auto", "On", "Off"),
    )
    clean_plate: str = knob(
        "Auto",
        "Clean Plate",
        "For paint-outs: gives the network the median of the Ground Truth frames at each pixel. On: for a locked-off "
        "shot. Moving: these are first aligned to each frame. Auto: either, if they agree where they differ from the "
        "Input. Needs two frames or more of one size, Moving three.",
        choices=("Auto", "On", "Off", "Moving"),
    )
    perceptual_weight: float = knob(
        0.0,
        "Perceptual Weight",
        "Weight of the difference of the Perceptual Backbone's features in the loss; colour only.",
        minimum=0,
        maximum=1e6,
        display=(0, 1),
    )
    perceptual_backbone: str = knob(
        "",
        "Perceptual Backbone",
        "File with torchvision's VGG16 or VGG19 weights (.safetensors or .pth) for Perceptual Weight.",
        kind="file",
    )
    difference_share: float = knob(
        0.5,
        "Difference Share",
        "Share of the crops placed where Input and Ground Truth differ most, so that small edits are learned.",
        minimum=0,
        maximum=1,
    )
    flip_probability: float = knob(
        0.0, "Flip Probability", "Probability that a crop is turned upside down.", minimum=0, maximum=1
    )
    flop_probability: float = knob(
        0.0, "Flop Probability", "Probability that a crop is mirrored left to right.", minimum=0, maximum=1
    )
    rotation_probability: float = knob(
        0.0,
        "Rotation Probability",
        "Probability that a crop is turned by 90, 180 or 270 degrees.",
        minimum=0,
        maximum=1,
    )
    gain_probability: float = knob(0.0, "Gain Probability", _GRADE_HINT.format(what="brightness"), minimum=0, maximum=1)
    contrast_probability: float = knob(
        0.0, "Contrast Probability", _GRADE_HINT.format(what="contrast"), minimum=0, maximum=1
    )
    saturation_probability: float = knob(
        0.0, "Saturation Probability", _GRADE_HINT.format(what="saturation"), minimum=0, maximum=1
    )
    # -- Python
    before_render: str = knob(
        "", "Before Render", _CALLBACK.format(when="before training starts", failure=_ABORTS), page="Python"
    )
    before_frame_render: str = knob(
        "", "Before Each Frame", _CALLBACK.format(when="before each step", failure=_ABORTS), page="Python"
    )
    after_frame_render: str = knob(
        "", "After Each Frame", _CALLBACK.format(when="after each step", failure=_ABORTS), page="Python"
    )
    after_render: str = knob(
        "",
        "After Render",
        _CALLBACK.format(when="after the last step", failure="An exception in it reports the render as failed."),
        page="Python",
    )
    render_progress: str = knob(
        "",
        "Render Progress",
        _CALLBACK.format(when="while training, to report progress", failure=_ABORTS),
        page="Python",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.initial_weights == "Checkpoint" and not self.checkpoint_file:
            raise SettingsError("Initial Weights is Checkpoint, but Checkpoint File is empty")
        if bool(self.validation_input) != bool(self.validation_ground_truth):
            raise SettingsError("validation needs both Validation Input and Validation Ground Truth")
        if self.perceptual_weight and not self.perceptual_backbone:
            raise SettingsError(
                f"Perceptual Weight is {self.perceptual_weight:g}, but Perceptual Backbone is empty: name a file of "
                "VGG16 or VGG19 weights"
            )
        if self.l1_weight + self.l2_weight + self.perceptual_weight <= 0:
            raise SettingsError("L1 Weight, L2 Weight and Perceptual Weight are all 0: nothing would be learned")

    @classmethod
    def _completed(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**preset_values(values.get("preset", NONE)), **values}

    def _implied(self, changes: dict[str, Any]) -> dict[str, Any]:
        changes = _gpu_implied(changes)
        if changes.get("checkpoint_file"):
            changes = _with(changes, "initial_weights", "Checkpoint", "Checkpoint File")
        if changes.get("batch_size") is not None:
            changes = _with(changes, "batch_size_type", "Manual", "Batch Size (Manual)")
        if changes.get("perceptual_backbone") and not changes.get("perceptual_weight", self.perceptual_weight):
            raise SettingsError("Perceptual Backbone has no effect while Perceptual Weight is 0: give a weight")
        return self._completed(changes)

    def pairs_per_step(self, pairs: int) -> int:
        """The batch size for a data set of ``pairs`` pairs.

        Raises:
            SettingsError: a manual batch is larger than the data set.
        """
        if self.batch_size_type == "Auto":
            return min(pairs, 16)
        if self.batch_size > pairs:
            raise SettingsError(
                f"Batch Size {self.batch_size} is larger than the data set of {pairs} pairs; "
                "use at most that, or set Batch Size to Auto"
            )
        return self.batch_size

    def crops_per_step(self, pairs: int) -> int:
        """The crops in a step; raises as :meth:`pairs_per_step`."""
        return self.pairs_per_step(pairs) * self.crops_per_pair

    def total_steps(self, pairs: int) -> int:
        """Total Steps = Epochs x Data Set Size / Batch Size, rounded up."""
        return math.ceil(self.epochs * pairs / self.pairs_per_step(pairs))


def _with(changes: dict[str, Any], field: str, value: Any, dependent: str) -> dict[str, Any]:
    """``changes`` with the value of ``field`` that knob ``dependent`` needs; SettingsError if they give another."""
    given = changes.get(field)
    if given is not None and str(given).lower() != str(value).lower():
        label = next(knob.label for knob in Settings.knobs() if knob.field == field)
        needed, current = (("off", "on")[one] if isinstance(one, bool) else one for one in (value, given))
        raise SettingsError(f"{dependent} has no effect while {label} is {current}: set it to {needed}")
    return {**changes, field: value}


def _gpu_implied(changes: dict[str, Any]) -> dict[str, Any]:
    if str(changes.get("gpu_index") or "Auto").lower() == "auto":
        return changes
    return _with(changes, "use_gpu_if_available", True, "GPU")


@dataclass(frozen=True)
class InferenceSettings(Table):
    """Every knob of the Inference effect and of ``copycat infer``."""

    use_gpu_if_available: bool = knob(
        True, "Use GPU if available", _USE_GPU_HINT, page="Inference", name="useGPUIfAvailable"
    )
    gpu_index: str = knob("Auto", "GPU", _GPU_HINT, page="Inference", choices=_GPUS)
    model_file: str = knob("", "Model File", "The trained model, a .cat file.", page="Inference", kind="file")
    checkpoint: int = knob(
        0,
        "Checkpoint",
        "Checkpoint of the model's run: 0 for the newest, else the latest with at most this many steps.",
        page="Inference",
        minimum=0,
        shown_on=HOSTED,
        display=(0, 100_000),
    )
    half_precision: bool = knob(
        False,
        "Optimize for Speed and Memory",
        "Computes in half precision.",
        page="Inference",
        alias="inferencePrecision",
    )
    tile_size: int = knob(
        0,
        "Tile Size",
        "Renders in tiles of this size to limit memory; None renders the whole frame if it fits. Tiles leave no seams.",
        page="Inference",
        kind="choice",
        choices=(0, 1024, 2048, 4096),
    )
    tile_overlap: int = knob(
        0,
        "Tile Overlap",
        "Overlap of the tiles in pixels, at least what the network needs; 0 is just that.",
        page="Inference",
        minimum=0,
        maximum=4096,
        display=(0, 512),
    )
    before_render: str = knob(
        "", "Before Render", _CALLBACK.format(when="before rendering starts", failure=_ABORTS), page="Python"
    )
    before_frame_render: str = knob(
        "", "Before Each Frame", _CALLBACK.format(when="before each frame", failure=_ABORTS), page="Python"
    )
    after_frame_render: str = knob(
        "",
        "After Each Frame",
        _CALLBACK.format(when="after each frame, not when aborted", failure=_ABORTS),
        page="Python",
    )
    after_render: str = knob(
        "",
        "After Render",
        _CALLBACK.format(when="after all frames", failure="An exception in it reports the render as failed."),
        page="Python",
    )
    render_progress: str = knob(
        "", "Render Progress", _CALLBACK.format(when="during rendering", failure=_ABORTS), page="Python"
    )

    def _implied(self, changes: dict[str, Any]) -> dict[str, Any]:
        return _gpu_implied(changes)


@dataclass(frozen=True)
class ProgressSettings(Table):
    """How runs are shown, on the Progress page and in a host; no training depends on it."""

    live_updates: bool = knob(
        False,
        "Live Updates",
        "Watches the Data Directory for runs trained elsewhere; a local run is always live.",
        page="Progress",
    )
    log_scale: bool = knob(False, "Log Scale", "Shows the loss on a logarithmic axis.", page="Progress")
    smoothness: float = knob(
        0.6, "Smoothness", "How much the loss curve is smoothed.", page="Progress", minimum=0, maximum=1
    )
    show_original: bool = knob(
        True, "Show Original Curve", "Draws the raw curve behind the smoothed one.", page="Progress"
    )
    show_validation: bool = knob(True, "Show Validation", "Draws the validation curve.", page="Progress")


def _extra(
    name: str, label: str, kind: Kind, page: str, hint: str, default: Any = None, *, on: frozenset[Surface], **more: Any
) -> Knob:
    return Knob(name=name, label=label, kind=kind, default=default, page=page, hint=hint, shown_on=on, **more)


_GPU_NAME = _extra(
    "gpuName", "Local GPU", "info", "CopyCat", "The GPU in use, or Not available.", "Not available", on=OFX
)

_COPYCAT_EXTRAS = (
    _extra(
        "trainingInfo",
        "Training Info",
        "info",
        "CopyCat",
        "Channels, batch size and total steps of this training.",
        "Channels: rgb -> rgb\nBatch Size: 0 (Auto)\nTotal Steps: 0",
        on=HOSTED,
    ),
    _extra(
        "addTrainingFrame",
        "Add Current Frame",
        "button",
        "CopyCat",
        "Adds the current frame to Training Frames.",
        on=OFX,
    ),
    _extra(
        "startTraining",
        "Start Training",
        "button",
        "CopyCat",
        "Hands the training frames over and starts a new run.",
        on=HOSTED,
    ),
    _extra("stopTraining", "Stop Training", "button", "CopyCat", "Saves and stops the active run.", on=HOSTED),
    _extra(
        "finishTraining",
        "Finish Training",
        "button",
        "CopyCat",
        "Ends the active run, running or stopped, with a decay at full resolution that takes a quarter of the time so "
        "far: a better model than its last step.",
        on=HOSTED,
    ),
    _extra(
        "resumeTraining",
        "Resume Training",
        "button",
        "CopyCat",
        "Continues the active run where it stopped.",
        on=HOSTED,
    ),
    _extra(
        "updateTrainingFrames",
        "Update Training Frames",
        "button",
        "CopyCat",
        "Hands Training Frames over to the active run once more: pairs that are new, changed or gone are taken in "
        "while it trains, or by the next Resume.",
        on=OFX,
    ),
    _extra(
        "changePlan",
        "Change Plan",
        "button",
        "CopyCat",
        "Has the active run follow the Time Limit, or without one the Epochs, as they are set now.",
        on=OFX,
    ),
    _extra(
        "saveCheckpoint",
        "Save Checkpoint",
        "button",
        "CopyCat",
        "Has the active run write a checkpoint now.",
        on=OFX,
    ),
    _extra(
        "updatePictures",
        "Update Pictures",
        "button",
        "CopyCat",
        "Has the active run write a contact sheet and a preview now. Previews show the current frame of the Preview "
        "clip from then on, where one is connected.",
        on=OFX,
    ),
    _extra(
        "createInference",
        "Create Inference",
        "button",
        "CopyCat",
        "Adds an Inference node with the newest checkpoint of the active run.",
        on=HOSTED,
    ),
    _extra("openProgress", "Open Progress", "button", "CopyCat", "Opens the Progress page in the browser.", on=OFX),
    _extra(
        "view",
        "View",
        "choice",
        "CopyCat",
        "The node's output: the Input, the newest checkpoint applied to the Preview, the contact sheet, or the loss "
        "curves of the runs as set on the Progress page.",
        "Input",
        on=OFX,
        choices=("Input", "Preview", "Contact Sheet", "Loss Curve"),
    ),
    _extra(
        "runTable",
        "Runs",
        "table",
        "Progress",
        "All runs in the Data Directory: name, steps, last update; in a host a star marks the active run.",
        on=HOSTED,
    ),
)

# A project stores their values, since hosts let a plugin set no parameter while a project loads.
_INFERENCE_EXTRAS = (
    _extra("channelsIn", "Channels In", "info", "Inference", "The model's input channels.", "", on=HOSTED, kept=True),
    _extra(
        "channelsOut", "Channels Out", "info", "Inference", "The model's output channels.", "", on=HOSTED, kept=True
    ),
)

COPYCAT_KNOBS: tuple[Knob, ...] = (_GPU_NAME, *Settings.knobs(), *_COPYCAT_EXTRAS, *ProgressSettings.knobs())
INFERENCE_KNOBS: tuple[Knob, ...] = (
    dataclasses.replace(_GPU_NAME, page="Inference"),
    *InferenceSettings.knobs(),
    *_INFERENCE_EXTRAS,
)


def table_as_json() -> str:
    """Both tables as JSON, in order, and the presets by script names, for the build of the OpenFX plugin."""

    def plain(knob: Knob) -> dict[str, Any]:
        row = dataclasses.asdict(knob)
        row["shown_on"] = sorted(knob.shown_on)
        row["choices"] = [choice_label(choice) for choice in knob.choices]
        if knob.choices:
            row["default"] = choice_label(knob.default)
        return row

    names = {k.field: k.name for k in Settings.knobs()}
    presets = {name: {names[f]: value for f, value in values.items()} for name, values in PRESETS.items()}
    tables = {"copycat": [plain(k) for k in COPYCAT_KNOBS], "inference": [plain(k) for k in INFERENCE_KNOBS]}
    return json.dumps({**tables, "presets": presets}, indent=1)


if __name__ == "__main__":
    print(table_as_json())
