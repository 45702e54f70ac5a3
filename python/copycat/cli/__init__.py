"""The command line; ``main`` is the ``copycat`` program."""

from copycat.cli.app import main

__all__ = ["main"]
