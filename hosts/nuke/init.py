"""Read by Nuke from NUKE_PATH before anything else: lets Nuke find the scripts, and the plugin where it is not yet."""

import os
import sys

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_HOSTS = os.path.dirname(_FOLDER)
if _HOSTS not in sys.path:
    sys.path.append(_HOSTS)
