"""The command line: ``copycat train | resume | ask | infer | review | export | info | runs | check | progress | ofx``.

Exit status: 0 finished, or stopped on request; 130 Ctrl-C and 143 SIGTERM, both after saving; 2 wrong usage; 3 a review
past --fail-over; else 1 with one sentence on standard error.

Over 400 lines: one function for each command, with its options.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from copycat.boundary import boundary
from copycat.cli.options import with_knobs
from copycat.cli.terminal import printable, report_end, training_display
from copycat.data.memory import keep_memory, wait_politely
from copycat.errors import CopycatError
from copycat.settings.knob import SettingsError
from copycat.settings.tables import InferenceSettings, ProgressSettings, Settings

if TYPE_CHECKING:
    from copycat.sequence.pairs import Pair

app = typer.Typer(
    name="copycat",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Paint an effect on a few frames of a shot, train a small network on them, apply it to the whole shot.",
)
_errors = Console(stderr=True, highlight=False, soft_wrap=True)

# typer has no repeatable option with two values: main() joins the two with a character that no argument can hold.
_PAIR_SEPARATOR = "\0"

_PAIRS = Annotated[
    list[str] | None,
    typer.Option(
        "--pair",
        metavar="INPUT GROUND_TRUTH",
        help="A further shot for the same model; repeatable.",
    ),
]
_MODEL_HELP = "The trained model: a .cat file, or a run (runs/NAME) or Data Directory for its newest checkpoint."
_PROCESSES = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        max=64,
        help="Processes of this machine that train together: one per GPU, or a few for a CPU's cores.",
    ),
]


def _print_version(is_given: bool) -> None:
    if is_given:
        from copycat.cli.describe import version

        print(version())
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and what it was built with."
        ),
    ] = False,
) -> None:
    pass


@app.command()
@with_knobs(Settings, skip=("data_directory",))
def train(
    input: Annotated[
        str | None, typer.Argument(help="Frames before the effect: plate.%04d.exr, a directory, a file.")
    ] = None,
    ground_truth: Annotated[str | None, typer.Argument(help="The same frames with the effect.")] = None,
    pair: _PAIRS = None,
    data_directory: Annotated[str, typer.Option("--data-directory", "-d", help="Directory for the run's files.")] = "",
    mask: Annotated[
        str, typer.Option("--mask", help="Sequence that weights the loss of the first pair, pixel by pixel.")
    ] = "",
    settings: Annotated[
        Path | None,
        typer.Option("--settings", help="JSON file of knobs; options given here take precedence."),
    ] = None,
    run_name: Annotated[str | None, typer.Option("--run-name", help="Name of the run.")] = None,
    processes: _PROCESSES = 1,
    **knobs: Any,
) -> None:
    """Train a model on frame pairs of one or more shots."""
    from copycat.training.companions import companions
    from copycat.training.start import train

    if knobs.get("minutes") and "epochs" in knobs:
        raise SettingsError("Epochs has no effect beside a Time Limit: give --epochs or --minutes")
    chosen = Settings.from_file(settings) if settings else Settings()
    if data_directory:
        knobs["data_directory"] = data_directory
    with training_display() as progress, companions(processes):
        pairs = _pairs(input, ground_truth, pair, mask)
        result = train(settings=chosen, pairs=pairs, run_name=run_name, progress=progress, **knobs)
    raise typer.Exit(report_end(result))


@app.command()
@with_knobs(
    Settings, skip=("preset", "model_size", "input_channels", "ground_truth_channels", "training_frames", "seed")
)
def resume(
    data_directory: Annotated[str, typer.Argument(help="Data Directory of the run.")],
    run: Annotated[str | None, typer.Option("--run", help="Name of the run; by default the newest.")] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="End the run soon: a quarter more steps, with a decay at full resolution.")
    ] = False,
    remap: Annotated[
        tuple[str, str] | None,
        typer.Option("--remap", metavar="OLD NEW", help="The shot was moved from folder OLD to folder NEW."),
    ] = None,
    processes: _PROCESSES = 1,
    **knobs: Any,
) -> None:
    """Continue a run from its last saved state."""
    from copycat.training.companions import companions
    from copycat.training.start import resume

    with training_display() as progress, companions(processes):
        result = resume(data_directory, run, finish=finish, remap=remap, progress=progress, **knobs)
    raise typer.Exit(report_end(result))


@app.command()
def ask(
    data_directory: Annotated[str, typer.Argument(help="Data Directory of the run.")],
    action: Annotated[
        str,
        typer.Argument(
            help="stop, finish, checkpoint, pictures (contact sheet and preview), weights (RUN_live.cat), "
            "or plan (--epochs or --minutes)."
        ),
    ],
    run: Annotated[str | None, typer.Option("--run", help="Name of the run; by default the newest.")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", help="plan: the new number of Epochs.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", help="plan: the new Time Limit, in minutes since the run's start.")
    ] = None,
    preview: Annotated[str, typer.Option("--preview", help="pictures: the frame to preview from now on.")] = "",
) -> None:
    """Send a request to a running training."""
    from copycat.runs import ask

    asked_run = ask(data_directory, action, run, epochs=epochs, minutes=minutes, preview=preview)  # type: ignore[arg-type]
    print(f"{asked_run.name}: {action} requested")


def _pairs(input: str | None, ground_truth: str | None, pair: list[str] | None, mask: str) -> list[Pair]:
    from copycat.sequence.pairs import Pair

    first = [Pair(input or "", ground_truth or "", mask)] if input or ground_truth or mask else []
    return first + [Pair(*both.split(_PAIR_SEPARATOR)) for both in pair or []]


@app.command()
@with_knobs(InferenceSettings, skip=("model_file", "checkpoint"))
def infer(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP)],
    plate: Annotated[str, typer.Argument(help="Sequence to render: plate.%04d.exr, a directory, a file.")],
    output: Annotated[str, typer.Argument(help="Pattern to write: out.%04d.exr; or out.mov for ProRes.")],
    frames: Annotated[str, typer.Option("--frames", help="Frames to render, as in 1001-1100x5,1200.")] = "all",
    input_channels: Annotated[
        str,
        typer.Option(
            "--input-channels",
            help="Channels of the plate to use, as in right.R,right.G,right.B; by default the model's.",
        ),
    ] = "",
    output_channels: Annotated[
        str,
        typer.Option(
            "--output-channels", help="Names of the result's channels, as in matte.A; by default the model's."
        ),
    ] = "",
    passthrough: Annotated[bool, typer.Option("--passthrough", help="Also write the plate's other channels.")] = False,
    compression: Annotated[
        str,
        typer.Option(
            "--compression",
            help="Compression of the output, as in zip, dwaa:45; by default the plate's; of a .mov proxy, lt, "
            "standard, hq (default), 4444 or 4444xq.",
        ),
    ] = "",
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave out frames whose output exists and can be read whole.")
    ] = False,
    skip_current: Annotated[
        bool,
        typer.Option(
            "--skip-current",
            help="Leave out frames whose output can be read whole and is newer than the model and the plate's frame.",
        ),
    ] = False,
    steady: Annotated[
        bool,
        typer.Option(
            "--steady",
            help="Average mattes over two frames to each side, where the plate stands still: they flicker less.",
        ),
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option(
            "--keep-going/--no-keep-going",
            help="After a bad frame, render the others; list the bad ones at the end, with status 1.",
        ),
    ] = True,
    **knobs: Any,
) -> None:
    """Apply a model to a sequence."""
    from copycat.cli.terminal import render_display
    from copycat.inference.render import infer

    with render_display() as (progress, warn, note):
        written = infer(
            model,
            plate,
            output,
            frames=frames,
            input_channels=input_channels,
            output_channels=output_channels,
            passthrough=passthrough,
            compression=compression,
            skip_existing=skip_existing,
            skip_current=skip_current,
            steady=steady,
            keep_going=keep_going,
            progress=progress,
            warn=warn,
            note=note,
            **knobs,
        )
    files = "".join(f": {path}" for path in written[:1]) + "".join(f" ... {path.name}" for path in written[1:][-1:])
    print(f"{len(written)} {'frame' if len(written) == 1 else 'frames'} written{files}")


_RENDER_ONLY = (
    "tile_overlap",
    *(knob.field for knob in InferenceSettings.knobs() if knob.field and knob.page == "Python"),
)


@app.command()
@with_knobs(InferenceSettings, skip=("model_file", *_RENDER_ONLY))
def review(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP)],
    plate: Annotated[str, typer.Argument(help="The shot: plate.%04d.exr, a directory.")],
    frames: Annotated[
        str, typer.Option("--frames", help="Frames to review, as in 1001-1100x5,1200; by default all.")
    ] = "all",
    ground_truth_frames: Annotated[
        str | None,
        typer.Option(
            "--ground-truth-frames",
            help="The painted frames; by default the model's training frames.",
        ),
    ] = None,
    fail_over: Annotated[
        float | None,
        typer.Option("--fail-over", min=0, metavar="DOUBT", help="Exit with status 3 if a frame's doubt is greater."),
    ] = None,
    json: Annotated[str, typer.Option("--json", metavar="FILE", help="Write the review of every frame as JSON.")] = "",
    sheet: Annotated[
        str,
        typer.Option("--sheet", metavar="FILE", help="PNG for the worst frames; by default RUN_review.png."),
    ] = "",
    **knobs: Any,
) -> None:
    """Say for each frame of a shot how far to trust the result, and show the worst frames."""
    from copycat.cli.describe import report_review

    files = {"json": json, "sheet": sheet}
    worst = report_review(model, plate, frames=frames, ground_truth_frames=ground_truth_frames, **files, **knobs)
    if fail_over is not None and worst is not None and worst.doubt > fail_over:
        _errors.print(f"frame {worst.frame}: its doubt is {worst.doubt:.2f}, and --fail-over is {fail_over:g}")
        raise typer.Exit(3)


@app.command()
def export(
    model: Annotated[str, typer.Argument(help=_MODEL_HELP)],
    output: Annotated[Path, typer.Argument(help="File to write: .pt for TorchScript, .onnx for ONNX.")],
) -> None:
    """Write a model as a program for other hosts: TorchScript (Nuke's CatFileCreator) or ONNX."""
    from copycat import runs
    from copycat.inference.export import export
    from copycat.model import cat

    path = runs.model_file(model)
    written, header = export(path, output), cat.read_header(path)
    print(f"{written}: {','.join(header.channels_in)} -> {','.join(header.channels_out)}")


@app.command()
def info(
    model: Annotated[list[str], typer.Argument(help="One or more .cat files, or image files.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Describe models and images."""
    from copycat.cli.describe import describe

    for path in model:
        describe(Path(path), as_json)


@app.command()
def runs(
    data_directory: Annotated[Path, typer.Argument(help="Data Directory to look at.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print comma-separated values.")] = False,
    tensorboard: Annotated[
        Path | None,
        typer.Option("--tensorboard", help="Write TensorBoard event files into this folder."),
    ] = None,
) -> None:
    """List the runs of a Data Directory."""
    from copycat.cli.runs_table import show_runs

    show_runs(data_directory, as_json, as_csv, tensorboard)


@app.command()
@with_knobs(ProgressSettings)
def progress(
    data_directory: Annotated[Path, typer.Argument(help="Data Directory to show.")],
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option("--token", help="What a browser needs to open the page; by default random.")
    ] = None,
    **knobs: Any,
) -> None:
    """Serve the Progress page: runs, loss, contact sheets, live."""
    from copycat.cli.progress import progress as serve

    serve(data_directory, port, browser, host, token, **knobs)


ofx = typer.Typer(no_args_is_help=True, help="The OpenFX plugin for compositing hosts.")
app.add_typer(ofx, name="ofx")
_PLUGIN_FOLDER = Annotated[Path | None, typer.Option("--directory", help="Plugin folder; by default the standard one.")]


@ofx.command()
def install(directory: _PLUGIN_FOLDER = None) -> None:
    """Copy the plugin to where hosts look for it, with this Python as its worker."""
    from copycat.cli import ofx_install

    print(f"installed {ofx_install.install(directory)}")
    print(ofx_install.host_scripts())


@ofx.command()
def uninstall(directory: _PLUGIN_FOLDER = None) -> None:
    """Remove the plugin."""
    from copycat.cli import ofx_install

    print(f"removed {ofx_install.uninstall(directory)}")


@ofx.command()
def doctor(directory: _PLUGIN_FOLDER = None) -> None:
    """Find problems with the installed plugin; status 1 if there are any."""
    from copycat.cli import ofx_install

    if not ofx_install.report(directory):
        raise typer.Exit(1)


_CHECKED = (
    "training_frames",
    "input_channels",
    "ground_truth_channels",
    "mask_channel",
    "crop_size",
    "use_multi_resolution_training",
    "non_finite",
)


@app.command()
@with_knobs(Settings, skip=tuple(k.field for k in Settings.knobs() if k.field and k.field not in _CHECKED))
def check(
    input: Annotated[str | None, typer.Argument(help="Frames before the effect.")] = None,
    ground_truth: Annotated[str | None, typer.Argument(help="The same frames with the effect.")] = None,
    pair: _PAIRS = None,
    mask: Annotated[
        str, typer.Option("--mask", help="Sequence that weights the loss of the first pair, pixel by pixel.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    **knobs: Any,
) -> None:
    """Check a data set without training; status 1 when a training would fail."""
    from copycat.cli.describe import report_check

    if report_check(_pairs(input, ground_truth, pair, mask), Settings(**knobs), as_json):
        raise typer.Exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """The ``copycat`` program.

    Args:
        arguments: of the command line, by default the process's.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    wait_politely()
    keep_memory()
    try:
        with boundary():
            app(_join_pairs(sys.argv[1:] if arguments is None else arguments), prog_name="copycat")
    except CopycatError as error:
        _errors.print(f"[bold red]error:[/] {escape(printable(str(error)))}")
        sys.exit(1)


def _join_pairs(arguments: Sequence[str]) -> list[str]:
    """``--pair A B`` -> ``--pair`` and one value."""
    joined, left = [], list(arguments)
    while left:
        word = left.pop(0)
        joined.append(word)
        if word == "--pair":
            if len(left) < 2:
                raise SettingsError("--pair needs an Input and a Ground Truth")
            joined.append(_PAIR_SEPARATOR.join((left.pop(0), left.pop(0))))
    return joined


if __name__ == "__main__":
    main()
