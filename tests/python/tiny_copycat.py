"""The command line with a Small that is tiny, so that a real process trains a hundred steps in a second or two."""

from __future__ import annotations

import dataclasses

from copycat import models


def shrink() -> None:
    """Makes Small tiny in this process."""
    models.ROWS["Small"] = dataclasses.replace(models.ROWS["Small"], width=8)


if __name__ == "__main__":
    from copycat.cli import main

    shrink()
    main()
