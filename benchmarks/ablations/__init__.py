"""Measurements behind the recipe; docs/explanation/benchmarks.md says what each decided."""
