"""``python -m copycat`` is the command line."""

from copycat.runs.trainer_lock import beat_while_loading

beat_while_loading()  # before what takes long to import

from copycat.cli.app import main  # noqa: E402

main()
