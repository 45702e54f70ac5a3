"""Natron runs this from NATRON_PLUGIN_PATH at every start, with or without an interface."""

import copycat_natron  # noqa: F401 - so that callbacks saved in a project are found
