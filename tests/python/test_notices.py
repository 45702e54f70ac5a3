"""What the page says when a run ends, and when one takes in painted frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from copycat.dashboard.notices import Notices, next_step, notice, title
from copycat.runs import Run, RunInfo


def row(state: str, reason: str = "", **more: Any) -> RunInfo:
    facts: dict[str, Any] = {
        "header": {},
        "steps": 40,
        "total_steps": 80,
        "seconds": 5.0,
        "updated": 0.0,
        "loss": 0.1,
        "best_psnr": None,
    }
    return RunInfo(run=Run(Path("data"), "r"), state=state, reason=reason, model_size="Small", **(facts | more))


def test_an_end_is_noticed_once_with_its_reason_and_what_to_do() -> None:
    notices = Notices()
    assert notices.look([row("finished")]) == []  # it had ended before
    assert notices.look([row("training")]) == []
    (said,) = notices.look([row("failed", "there is not enough memory for this training")])
    assert (said.title, said.kind) == ("r failed", "negative")
    assert said.text.startswith("there is not enough memory for this training. Choose a smaller Crop Size")
    assert notices.look([row("failed")]) == []
    assert notice(row("finished", best_psnr=41.234)).text.startswith("40 steps, 41.23 dB. Look at the shot")
    assert "last saved state" in notice(row("killed", "the trainer was killed")).text


def test_frames_that_a_training_takes_in_are_noticed_once_and_on_the_page_alone() -> None:
    notices, header = Notices(), {"change": "step 9: clean.1005.exr is new: training on 5 pairs"}
    assert notices.look([row("training", header=header)]) == []  # it had changed before
    header = {"change": "step 40: clean.1005.exr has changed: training on 5 pairs"}
    (said,) = notices.look([row("training", header=header)])
    assert (said.title, said.text, said.kind, said.ended) == ("r", header["change"], "info", False)
    assert notices.look([row("training", header=header)]) == []
    (said,) = notices.look([row("finished", header=header)])
    assert said.ended


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("/d/r.summary: cannot be written: No space left on device", "Free some disk space"),
        ("/shot/plate.1001.exr cannot be read: it is truncated", "Mend the files"),
        ("the loss has not been finite for 100 steps in a row", "extreme values"),
        ("callback mine:frame failed", "Mend the callback"),
        ("something else", "Resume Training once the cause is gone"),
    ],
)
def test_each_failure_has_a_next_step(reason: str, words: str) -> None:
    assert words in next_step("failed", reason)


def test_the_tab_s_title_says_how_far_the_run_is() -> None:
    assert title(None, "data") == "data - copycat"
    assert title(row("training"), "data") == "50% r - copycat"
    assert title(row("failed"), "data").endswith("r failed - copycat")
    assert np.unique([title(row(state), "d") for state in ("finished", "failed", "stopped")]).size == 3
