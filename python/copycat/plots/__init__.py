"""Runs as the Progress page and the plugin show them: live state, smoothed curves, and the graph."""
