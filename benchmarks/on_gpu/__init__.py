"""All that needs a GPU, measured in one go: ``benchmarks/run_on_gpu.sh``."""
