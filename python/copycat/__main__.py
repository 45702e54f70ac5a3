"""``python -m copycat`` is the command line."""

from copycat.cli.app import main

main()
