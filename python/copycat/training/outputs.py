"""Writes the output files of a training: checkpoints and resume states, contact sheets, previews, validations.

Without a checkpoint or resume state a training cannot go on, so their failures end it. A picture or a validation that
cannot be made is a warning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from copycat.data.dataset import Dataset
from copycat.data.devices import is_out_of_memory
from copycat.model import cat, tiles
from copycat.runs import stored_frames
from copycat.sequence import read_frame
from copycat.settings.tables import Settings
from copycat.training import checkpoint
from copycat.training.control import Control
from copycat.training.frame_records import to_records
from copycat.training.journal import Journal
from copycat.training.pictures import contact_sheet, displayed, write_png
from copycat.training.prepare import Prepared, preview_frame
from copycat.training.standing import Standing
from copycat.training.validation import psnr

_PREVIEW_TILE = 1024


class Outputs:
    """Writes the files of one training, under its run's current name."""

    def __init__(
        self, settings: Settings, prepared: Prepared, standing: Standing, control: Control, journal: Journal
    ) -> None:
        """Writes nothing yet.

        Args:
            settings: crop size, seed, view.
            prepared: model, network, preview, validation pairs.
            standing: where the training stands.
            control: names the run, and says when to stop rendering.
            journal: takes warnings and validation results.
        """
        self._settings = settings
        self._prepared = prepared
        self._preview = prepared.preview
        self._change = prepared.position.change
        self._learner = prepared.member.learner
        self._standing = standing
        self._control = control
        self._journal = journal

    def write_pictures(self, level: int) -> None:
        """Writes a contact sheet of crops at ``level`` and, where there is a preview frame, a preview."""
        self._try("the contact sheet", lambda: self._write_sheet(level))
        if self._preview:
            self._try("the preview", self._write_preview)

    def change_settings(self, settings: Settings) -> None:
        """From now on checkpoints hold these settings, and previews show their frame.

        Raises:
            CopycatError: the preview's frame cannot be read or does not fit.
        """
        header = replace(self._prepared.header, settings=settings.to_dict())
        self._preview = preview_frame(settings, header)
        self._settings, self._prepared = settings, replace(self._prepared, header=header)

    def change_data(self, data: Dataset, change: dict[str, Any]) -> None:
        """From now on checkpoints name this data set, and resume states the change that led to it."""
        self._change = change
        header = replace(self._prepared.header, data_hash=data.data_hash)
        self._prepared = replace(self._prepared, header=header)

    def write_checkpoint(self, level: int, *, validate: bool) -> None:
        """Writes the .cat and the resume state; validates, and writes the best .cat where this is it.

        Raises:
            RunError: a file cannot be written.
        """
        self._with_memory(lambda: self._save_model(level))
        if validate and self._prepared.validation:
            self._try("the validation", lambda: self._validate(level))
        self.write_resume_state()

    def write_live_weights(self, level: int) -> None:
        """Writes the newest weights as ``<run>_live.cat`` for those who look at the shot, in place of older ones."""
        run, parameters = self._control.run, self._learner.parameters
        self._try("the live weights", lambda: cat.save(run.live, self._header(level), parameters.average_by_name()))

    def write_resume_state(self) -> None:
        """Writes the .ost.

        Raises:
            RunError: it cannot be written.
        """
        now, member, run = self._standing, self._prepared.member, self._control.run
        updates, vectors = self._learner.state()
        position = checkpoint.Position(
            step=now.step,
            updates=updates,
            elapsed=now.clock.elapsed,
            loss=now.loss,
            best_psnr=now.best_psnr,
            micro_batch=self._learner.micro_batch,
            schedule=now.schedule.to_dict(),
            recent=member.recent,
            recent_until=member.recent_until,
            change=self._change,
        )
        assert member.data.banks
        frames = [
            {**frame, "fingerprint": fingerprint}
            for frame, fingerprint in zip(
                stored_frames(run, to_records(member.data.pairs)), member.data.banks.fingerprints, strict=True
            )
        ]
        checkpoint.save(run.resume_state, position, replace(self._prepared.header, run=run.name), vectors, frames)

    def _save_model(self, level: int) -> None:
        run = self._control.run
        self._save(run.checkpoint(self._standing.step), level)

    def _save(self, path: Path, level: int) -> None:
        learner = self._learner
        weights = learner.parameters.average_by_name()
        cat.save(path, self._header(level), weights, painted=learner.network.painted)

    def _header(self, level: int) -> cat.ModelHeader:
        now = self._standing
        return replace(self._prepared.header, run=self._control.run.name, level=level, step=now.step, loss=now.loss)

    def _write_sheet(self, level: int) -> None:
        settings, step = self._settings, self._standing.step
        data = self._prepared.member.at_level(level)
        with self._learner.parameters.averaged():
            sheet = contact_sheet(
                self._learner.network, data, settings.crop_size, step, settings.seed, settings.ocio_view
            )
        write_png(self._control.run.contact_sheet(step), sheet)

    def _write_preview(self) -> None:
        header, preview = self._prepared.header, self._preview
        assert preview
        frame = read_frame(preview, header.channels_in)
        with self._learner.parameters.averaged():
            output = tiles.render(
                self._learner.network,
                torch.from_numpy(frame.pixels).movedim(-1, 0),
                (header.input_encoding, header.target_encoding),
                tile_size=_PREVIEW_TILE,
                zero_bad_pixels=header.saw_bad_pixels,
                cancel=self._control.stopping,
                warn=lambda sentence: self._journal.warn(f"{preview}: {sentence}"),
            )
        picture = displayed(output, frame.info.linear, header.channels_out, self._settings.ocio_view)
        write_png(self._control.run.preview(self._standing.step), picture)

    def _validate(self, level: int) -> None:
        now, learner = self._standing, self._learner
        with learner.parameters.averaged():
            pairs, header = self._prepared.validation, self._prepared.header
            value = psnr(learner.network, pairs, header, cancel=self._control.stopping, warn=self._journal.warn)
        self._journal.write({"step": now.step, "psnr": round(value, 4)})
        if now.best_psnr is None or value > now.best_psnr:
            now.best_psnr = value
            self._save(self._control.run.best, level)

    def _try(self, product: str, make: Callable[[], None]) -> None:
        """Makes a product that training can go on without: a failure is a warning, and a stop cancels it."""
        try:
            with contextlib.suppress(tiles.CancelledError):
                self._with_memory(make)
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            self._journal.warn(f"{product} cannot be made, training goes on without: {reason}")

    def _with_memory(self, make: Callable[[], None]) -> None:
        """Makes something; when memory runs out beside a recorded graph, frees the graph and makes it again."""
        try:
            return make()
        except RuntimeError as error:
            if not is_out_of_memory(error) or not self._learner.leave_stage():
                raise
        make()
