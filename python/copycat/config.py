"""Every knob once: name, label, default, range, hint, and where it shows. Standard library only.

The command line, the Python API, the OpenFX effects, the worker and the Progress page all loop over
:data:`COPYCAT_KNOBS` and :data:`INFERENCE_KNOBS`. A knob that holds a setting is a field of
:class:`Settings` (training), :class:`InferenceSettings` or :class:`ProgressSettings` (how runs are
shown); buttons and read-outs are listed beside them. Knob names are what scripts use (camelCase); the Python
field is the same name in snake_case.

``python -m copycat.config`` prints both tables as JSON, which the build of the OpenFX plugin reads.
"""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from copycat.errors import CopycatError

Kind = Literal["bool", "int", "float", "choice", "string", "file", "directory", "sequence", "button", "info", "table"]
Surface = Literal["cli", "ofx", "page"]

EVERYWHERE: frozenset[Surface] = frozenset({"cli", "ofx", "page"})
HOSTED: frozenset[Surface] = frozenset({"ofx", "page"})
CLI: frozenset[Surface] = frozenset({"cli"})
OFX: frozenset[Surface] = frozenset({"ofx"})
PAGE: frozenset[Surface] = frozenset({"page"})
CLI_PAGE: frozenset[Surface] = frozenset({"cli", "page"})


@dataclass(frozen=True)
class Knob:
    """One row of the table.

    Attributes:
        name: script name, camelCase; exact.
        field: the snake_case field of the settings, or None for buttons, read-outs and display knobs.
        minimum, maximum: inclusive range of a number, None where open.
        shown_on: the surfaces on which the knob appears.
        alias: another script name accepted on input.
    """

    name: str
    label: str
    kind: Kind
    default: Any
    page: str
    hint: str
    field: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    shown_on: frozenset[Surface] = EVERYWHERE
    alias: str | None = None


def choice_label(choice: Any) -> str:
    """A choice as it is shown: a size of 0 is ``None``."""
    return "None" if choice == 0 else str(choice)


def camel_case(name: str) -> str:
    """``crop_size`` -> ``cropSize``."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _knob(
    default: Any,
    label: str,
    hint: str,
    *,
    page: str = "Advanced",
    kind: Kind | None = None,
    name: str | None = None,
    choices: tuple[Any, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    shown_on: frozenset[Surface] = EVERYWHERE,
    alias: str | None = None,
) -> Any:
    """A dataclass field that carries its row of the table in the metadata."""
    row = {
        "label": label,
        "hint": hint,
        "page": page,
        "kind": kind,
        "name": name,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "shown_on": shown_on,
        "alias": alias,
    }
    return field(default=default, metadata=row)


_GPU_HINT = (
    "Which GPU to use. Auto takes the first suitable one. An index that this machine does not have falls back "
    "to Auto with a warning."
)
_USE_GPU_HINT = "Use the GPU where there is one; a machine without a GPU uses the CPU."
_CALLBACK = "A function to call {when}, as module:function. {failure}"
_GRADE_HINT = (
    "How often a crop's {what} is multiplied by 0.5 to 2, in Input and Ground Truth alike. Channels that are not the "
    "red, green and blue of a layer stay as they are."
)
_GPUS = ("Auto", "0", "1", "2", "3", "4", "5", "6", "7")
_ABORTS = "An exception in it aborts the render."


class SettingsError(CopycatError):
    """A knob was given a value it cannot take; the message names the knob, the value and what is allowed."""


class _Table:
    """Checks and converts values by the table; base of the settings classes."""

    @classmethod
    def knobs(cls) -> tuple[Knob, ...]:
        """The rows of this class's fields, in order."""
        return tuple(_row(f, hint) for f, hint in _fields_with_types(cls))

    def __post_init__(self) -> None:
        for knob in self.knobs():
            assert knob.field is not None
            value = _checked(knob, getattr(self, knob.field))
            object.__setattr__(self, knob.field, value)

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the script names, as written to ``<run>.json`` and into a .cat."""
        return {knob.name: getattr(self, knob.field) for knob in self.knobs() if knob.field}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> typing.Self:
        """Reads what :meth:`to_dict` wrote; script names, aliases and field names are accepted.

        Raises:
            SettingsError: a name is not a knob, or a value does not fit.
        """
        names: dict[str, str] = {}
        for knob in cls.knobs():
            assert knob.field is not None
            for name in (knob.name, knob.field, knob.alias):
                if name:
                    names[name] = knob.field
        unknown = [name for name in values if name not in names]
        if unknown:
            raise SettingsError(f"unknown knob {unknown[0]!r}; the knobs are {', '.join(k.name for k in cls.knobs())}")
        return cls(**{names[name]: value for name, value in values.items()})

    @classmethod
    def from_file(cls, path: str | Path) -> typing.Self:
        """Reads a settings file: a JSON object of script names and values.

        Raises:
            SettingsError: the file cannot be read, is not a JSON object, or a knob does not fit.
        """
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{path}: the settings file cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise SettingsError(f"{path}: not a JSON settings file: {error}") from None
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: a settings file is a JSON object of knob names and values")
        try:
            return cls.from_dict(values)
        except SettingsError as error:
            raise SettingsError(f"{path}: {error}") from None

    def replace(self, **changes: Any) -> typing.Self:
        """A copy with some fields changed, checked again."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True)
class Settings(_Table):
    """Every knob of a training. Field defaults are the product's defaults (see the knob table in the docs)."""

    # -- CopyCat
    use_gpu_if_available: bool = _knob(
        True, "Use GPU if available", _USE_GPU_HINT, page="CopyCat", name="useGPUIfAvailable"
    )
    gpu_index: str = _knob("Auto", "GPU", _GPU_HINT, page="CopyCat", choices=_GPUS)
    data_directory: str = _knob(
        "",
        "Data Directory",
        "The directory that receives checkpoints, contact sheets and run data.",
        page="CopyCat",
        kind="directory",
    )
    epochs: int = _knob(
        10000,
        "Epochs",
        "How often the whole data set is processed. Total Steps = Epochs x Data Set Size / Batch Size.",
        page="CopyCat",
        minimum=1,
        maximum=10_000_000,
    )
    minutes: float = _knob(
        0.0,
        "Time Limit",
        "Minutes after which a finished full-resolution model is wanted; 0 trains for the number of Epochs.",
        page="CopyCat",
        minimum=0,
        maximum=100_000,
    )
    training_frames: str = _knob(
        "all",
        "Training Frames",
        "Frames to train on, as in 1001-1100x5,1200; all takes the frames that both Input and Ground Truth have.",
        page="CopyCat",
    )
    # -- Advanced
    initial_weights: str = _knob(
        "None",
        "Initial Weights",
        "What the network starts from: nothing, a checkpoint, or weights trained for a kind of work. Deblur "
        "gives all other work a start too, mattes among it.",
        choices=("None", "Checkpoint", "Deblur", "Upscale", "Human Matting"),
    )
    checkpoint_file: str = _knob(
        "", "Checkpoint File", "The .cat to start from when Initial Weights is Checkpoint.", kind="file"
    )
    model_size: str = _knob(
        "Medium",
        "Model Size",
        "Small trains and renders fastest, Large copies the most difficult effects.",
        choices=("Small", "Medium", "Large"),
    )
    batch_size_type: str = _knob(
        "Auto",
        "Batch Size",
        "Auto takes as many pairs in a step as there are, at most 16, on every machine.",
        choices=("Auto", "Manual"),
    )
    batch_size: int = _knob(
        8,
        "Batch Size (Manual)",
        "Pairs in a step when Batch Size is Manual; at most the number of pairs.",
        minimum=1,
        maximum=4096,
    )
    crop_size: int = _knob(
        256, "Crop Size", "Side of the random square crops in pixels.", kind="choice", choices=(32, 64, 128, 256, 512)
    )
    checkpoint_interval: int = _knob(
        1000,
        "Checkpoint Interval",
        "Steps between .cat files; the last step always writes one.",
        minimum=1,
        maximum=10_000_000,
    )
    image_interval: int = _knob(
        100, "Contact Sheet Interval", "Steps between contact sheets.", minimum=1, maximum=10_000_000
    )
    use_multi_resolution_training: bool = _knob(
        True,
        "Use Multi-Resolution Training",
        "Trains three stages, at 1/4, 1/2 and full resolution. Switch it off above 100 pairs.",
        alias="useMultiResolution",
    )
    crops_per_pair: int = _knob(1, "Crops per Pair", "Crops taken of each pair in a step.", minimum=1, maximum=256)
    input_channels: str = _knob(
        "rgb", "Input Channels", "Channels of the Input by name, in order, as in R,G,B,depth.Z; rgb is R,G,B."
    )
    ground_truth_channels: str = _knob(
        "rgb", "Ground Truth Channels", "Channels of the Ground Truth by name, in order, as in A; rgb is R,G,B."
    )
    mask_channel: str = _knob("", "Mask Channel", "Channel of the Ground Truth that weights the loss, pixel by pixel.")
    non_finite: str = _knob(
        "Error",
        "Non-Finite Pixels",
        "What NaN and infinite pixels in the training frames do: stop the training, or be left out of it.",
        choices=("Error", "Mask"),
    )
    verify_inputs: bool = _knob(
        False,
        "Verify Inputs",
        "Look over the training frames as copycat check does: stop at errors, say what looks like a mistake.",
    )
    align_ground_truth: bool = _knob(
        False,
        "Align Ground Truth",
        "Move each Ground Truth frame back where it lies a fraction of a pixel or more beside its Input.",
        shown_on=CLI_PAGE,
    )
    seed: int = _knob(
        0,
        "Seed",
        "Start of the random numbers; the same seed trains the same model.",
        minimum=0,
        maximum=2_147_483_647,
    )
    bank: str = _knob(
        "auto",
        "Bank",
        "Where the data set is kept while training.",
        choices=("auto", "device", "host", "disk"),
    )
    validation_input: str = _knob(
        "", "Validation Input", "Frames that are never trained on, before the effect.", kind="sequence"
    )
    validation_ground_truth: str = _knob(
        "", "Validation Ground Truth", "The same frames with the effect.", kind="sequence"
    )
    preview: str = _knob(
        "",
        "Preview",
        "A frame outside the data set to which the model is applied as training goes on.",
        kind="sequence",
        shown_on=CLI_PAGE,
    )
    ocio_view: str = _knob(
        "",
        "OCIO View",
        "How contact sheets and previews of scene-linear frames are shown: display/view of the OpenColorIO "
        "configuration that OCIO names, or of the built-in one. Empty: the sRGB curve.",
    )
    # -- the loss and what is done to the crops
    l1_weight: float = _knob(0.0, "L1 Weight", "Weight of the mean absolute error in the loss.", minimum=0, maximum=1e6)
    l2_weight: float = _knob(1.0, "L2 Weight", "Weight of the mean squared error in the loss.", minimum=0, maximum=1e6)
    matte: str = _knob(
        "Auto",
        "Matte",
        "Whether the Ground Truth is coverage: results then stay within 0 and 1, and what reaches beyond is no error. "
        "Auto: where it lies within 0 and 1 and is mostly one or the other.",
        choices=("Auto", "On", "Off"),
    )
    frame_position: bool = _knob(
        False,
        "Frame Position",
        "Tells the network where in the frame a pixel lies. For locked-off shots: what is behind something that is "
        "painted out, or where a mark sits, is learned by heart. Frames must all be of one size.",
    )
    perceptual_weight: float = _knob(
        0.0,
        "Perceptual Weight",
        "Weight of the difference as the Perceptual Backbone sees it in the loss; for colour only.",
        minimum=0,
        maximum=1e6,
    )
    perceptual_backbone: str = _knob(
        "",
        "Perceptual Backbone",
        "Weights of torchvision's VGG16 or VGG19, .safetensors or .pth, for Perceptual Weight.",
        kind="file",
    )
    difference_share: float = _knob(
        0.5,
        "Difference Share",
        "Share of the crops that is taken where Input and Ground Truth differ most, so that small edits are found.",
        minimum=0,
        maximum=1,
    )
    flip_probability: float = _knob(
        0.0, "Flip Probability", "How often a crop is turned upside down.", minimum=0, maximum=1
    )
    flop_probability: float = _knob(0.0, "Flop Probability", "How often a crop is mirrored.", minimum=0, maximum=1)
    rotation_probability: float = _knob(
        0.0, "Rotation Probability", "How often a crop is turned by 90, 180 or 270 degrees.", minimum=0, maximum=1
    )
    gain_probability: float = _knob(
        0.0, "Gain Probability", _GRADE_HINT.format(what="brightness"), minimum=0, maximum=1
    )
    contrast_probability: float = _knob(
        0.0, "Contrast Probability", _GRADE_HINT.format(what="contrast"), minimum=0, maximum=1
    )
    saturation_probability: float = _knob(
        0.0, "Saturation Probability", _GRADE_HINT.format(what="saturation"), minimum=0, maximum=1
    )
    # -- Python
    before_render: str = _knob(
        "", "Before Render", _CALLBACK.format(when="before training starts", failure=_ABORTS), page="Python"
    )
    before_frame_render: str = _knob(
        "", "Before Each Frame", _CALLBACK.format(when="before each step", failure=_ABORTS), page="Python"
    )
    after_frame_render: str = _knob(
        "", "After Each Frame", _CALLBACK.format(when="after each step", failure=_ABORTS), page="Python"
    )
    after_render: str = _knob(
        "",
        "After Render",
        _CALLBACK.format(when="after the last step", failure="An exception in it reports the render as failed."),
        page="Python",
    )
    render_progress: str = _knob(
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

    def total_steps(self, pairs: int) -> int:
        """Total Steps = Epochs x Data Set Size / Batch Size, rounded up."""
        return math.ceil(self.epochs * pairs / self.pairs_per_step(pairs))


@dataclass(frozen=True)
class InferenceSettings(_Table):
    """Every knob of the Inference effect and of ``copycat infer``."""

    use_gpu_if_available: bool = _knob(
        True, "Use GPU if available", _USE_GPU_HINT, page="Inference", name="useGPUIfAvailable"
    )
    gpu_index: str = _knob("Auto", "GPU", _GPU_HINT, page="Inference", choices=_GPUS)
    model_file: str = _knob("", "Model File", "The trained model, a .cat file.", page="Inference", kind="file")
    checkpoint: int = _knob(
        0,
        "Checkpoint",
        "Which checkpoint of the model's run to use: 0 the newest, else the checkpoint with at most so many steps.",
        page="Inference",
        minimum=0,
        shown_on=HOSTED,
    )
    half_precision: bool = _knob(
        False,
        "Optimize for Speed and Memory",
        "Compute in half precision.",
        page="Inference",
        alias="inferencePrecision",
    )
    tile_size: int = _knob(
        0,
        "Tile Size",
        "Render in tiles of this size to bound memory; None renders the whole frame where it fits. Tiles do not show.",
        page="Inference",
        kind="choice",
        choices=(0, 1024, 2048, 4096),
    )
    tile_overlap: int = _knob(
        0,
        "Tile Overlap",
        "Pixels by which tiles overlap; 0 takes what the network needs. Smaller values are raised to it.",
        page="Inference",
        minimum=0,
        maximum=4096,
    )
    before_render: str = _knob(
        "", "Before Render", _CALLBACK.format(when="before rendering starts", failure=_ABORTS), page="Python"
    )
    before_frame_render: str = _knob(
        "", "Before Each Frame", _CALLBACK.format(when="before each frame", failure=_ABORTS), page="Python"
    )
    after_frame_render: str = _knob(
        "",
        "After Each Frame",
        _CALLBACK.format(when="after each frame, not when aborted", failure=_ABORTS),
        page="Python",
    )
    after_render: str = _knob(
        "",
        "After Render",
        _CALLBACK.format(when="after all frames", failure="An exception in it reports the render as failed."),
        page="Python",
    )
    render_progress: str = _knob(
        "", "Render Progress", _CALLBACK.format(when="during rendering", failure=_ABORTS), page="Python"
    )


@dataclass(frozen=True)
class ProgressSettings(_Table):
    """How runs are shown, on the Progress page and in a host; no training depends on it."""

    live_updates: bool = _knob(
        False,
        "Live Updates",
        "Polls the Data Directory for runs made elsewhere; a local run is always live.",
        page="Progress",
    )
    log_scale: bool = _knob(False, "Log Scale", "Makes the loss axis logarithmic.", page="Progress")
    smoothness: float = _knob(
        0.6, "Smoothness", "How much the loss curve is smoothed.", page="Progress", minimum=0, maximum=1
    )
    show_original: bool = _knob(
        True, "Show Original Curve", "Draws the raw curve behind the smoothed one.", page="Progress"
    )
    show_validation: bool = _knob(True, "Show Validation", "Draws the validation curve.", page="Progress")


def _fields_with_types(cls: type[_Table]) -> Iterator[tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(cls)
    for f in fields(cls):  # type: ignore[arg-type]
        yield f, hints[f.name]


def _row(f: dataclasses.Field[Any], hint: Any) -> Knob:
    row: Mapping[str, Any] = f.metadata
    kinds: dict[Any, Kind] = {bool: "bool", int: "int", float: "float", str: "string"}
    assert f.default is not MISSING
    kind = row["kind"] or ("choice" if row["choices"] else kinds[hint])
    return Knob(
        name=row["name"] or camel_case(f.name),
        label=row["label"],
        kind=kind,
        default=f.default,
        page=row["page"],
        hint=row["hint"],
        field=f.name,
        choices=row["choices"],
        minimum=row["minimum"],
        maximum=row["maximum"],
        shown_on=row["shown_on"],
        alias=row["alias"],
    )


def _checked(knob: Knob, value: Any) -> Any:
    """``value`` in the knob's type, or SettingsError."""
    want = type(knob.default)
    for choice in knob.choices:
        if str(value).lower() == choice_label(choice).lower():
            return choice
    if want is bool:
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false", "on", "off", "1", "0"):
            return value.lower() in ("true", "on", "1")
        if value in (0, 1):
            return bool(value)
        raise SettingsError(f"{knob.label} ({knob.name}) is on or off, not {value!r}")
    if want is str:
        value = str(value) if isinstance(value, (str, Path, int)) else value
        if not isinstance(value, str):
            raise SettingsError(f"{knob.label} ({knob.name}) is text, not {value!r}")
    else:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise SettingsError(f"{knob.label} ({knob.name}) is a number, not {value!r}") from None
        if not math.isfinite(number) or (want is int and number != int(number)):
            what = "a whole number" if want is int else "a finite number"
            raise SettingsError(f"{knob.label} ({knob.name}) is {what}, not {value!r}")
        value = want(number)
    if knob.choices:
        if value in knob.choices:
            return value
        allowed = ", ".join(map(choice_label, knob.choices))
        raise SettingsError(f"{knob.label} ({knob.name}) is one of {allowed}, not {value!r}")
    below = knob.minimum is not None and value < knob.minimum
    above = knob.maximum is not None and value > knob.maximum
    if below or above:
        low = "" if knob.minimum is None else f"at least {_plain(knob.minimum)}"
        high = "" if knob.maximum is None else f"at most {_plain(knob.maximum)}"
        raise SettingsError(f"{knob.label} ({knob.name}) is {' and '.join(filter(None, (low, high)))}, not {value!r}")
    return value


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


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
        "Ends the active run, stopped or not, after a quarter more of its time with a decay at full resolution: better "
        "than its last step.",
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
        "What the node puts out: the Input, the newest checkpoint applied to the Preview, the contact sheet, or the "
        "loss curves of the runs as the knobs of the Progress page say.",
        "Input",
        on=OFX,
        choices=("Input", "Preview", "Contact Sheet", "Loss Curve"),
    ),
    _extra(
        "runTable",
        "Runs",
        "table",
        "Progress",
        "Every run in the Data Directory: name, steps, last update; in a host the active one bears a star.",
        on=HOSTED,
    ),
)

_INFERENCE_EXTRAS = (
    _extra("channelsIn", "Channels In", "info", "Inference", "The channels the model takes.", "", on=HOSTED),
    _extra("channelsOut", "Channels Out", "info", "Inference", "The channels the model makes.", "", on=HOSTED),
)

COPYCAT_KNOBS: tuple[Knob, ...] = (_GPU_NAME, *Settings.knobs(), *_COPYCAT_EXTRAS, *ProgressSettings.knobs())
INFERENCE_KNOBS: tuple[Knob, ...] = (
    dataclasses.replace(_GPU_NAME, page="Inference"),
    *InferenceSettings.knobs(),
    *_INFERENCE_EXTRAS,
)


def table_as_json() -> str:
    """Both tables as JSON, in order, for the build of the OpenFX plugin."""

    def plain(knob: Knob) -> dict[str, Any]:
        row = dataclasses.asdict(knob)
        row["shown_on"] = sorted(knob.shown_on)
        row["choices"] = [choice_label(choice) for choice in knob.choices]
        if knob.choices:
            row["default"] = choice_label(knob.default)
        return row

    tables = {"copycat": [plain(k) for k in COPYCAT_KNOBS], "inference": [plain(k) for k in INFERENCE_KNOBS]}
    return json.dumps(tables, indent=1)


if __name__ == "__main__":
    print(table_as_json())
