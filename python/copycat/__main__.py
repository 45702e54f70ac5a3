"""``python -m copycat`` is the command line."""

from copycat.cli import main

main()
