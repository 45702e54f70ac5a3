"""What the Progress page and the plugin show of runs: their live state, smoothed curves, and the graph."""
