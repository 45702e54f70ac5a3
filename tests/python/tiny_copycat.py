"""The command line with tiny networks, so that a real process trains a hundred steps in a second or two."""

from __future__ import annotations

import dataclasses

from copycat.model.network import ROWS


def shrink() -> None:
    """Makes the networks of this process tiny."""
    for width, size in ((8, "Small"), (12, "Medium"), (16, "Large")):
        ROWS[size] = dataclasses.replace(ROWS[size], width=width)


if __name__ == "__main__":
    from copycat.cli.app import main

    shrink()
    main()
