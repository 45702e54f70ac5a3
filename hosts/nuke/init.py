"""Nuke runs this from NUKE_PATH at its start: makes the modules in hosts/ importable."""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_HOSTS = os.path.dirname(_FOLDER)
if _HOSTS not in sys.path:
    sys.path.append(_HOSTS)
