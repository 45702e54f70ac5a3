"""Measurements behind the recipe; docs/benchmarks.md says what each decided."""
