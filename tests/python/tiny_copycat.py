"""The command line with tiny networks, so that a real process trains a hundred steps in a second or two."""

from __future__ import annotations

import dataclasses

from copycat import models


def shrink() -> None:
    """Makes the networks of this process tiny."""
    for width, size in ((8, "Small"), (12, "Medium"), (16, "Large")):
        models.ROWS[size] = dataclasses.replace(models.ROWS[size], width=width)


if __name__ == "__main__":
    from copycat.cli import main

    shrink()
    main()
