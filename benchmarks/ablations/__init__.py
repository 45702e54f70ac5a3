"""Measurements behind what no knob names; their tables are in docs/benchmarks.md."""
