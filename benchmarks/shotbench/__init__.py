"""ShotBench: the same shots, the same clock, every tool by its own command line.

``python -m benchmarks.shotbench`` builds the tasks and lets each tool train on the painted frames until the clock stops
it. Then the tool renders the held-out frames, which are scored. Each task and tool gets a result, all together a page
of pictures.

To add a tool, write a subclass of :class:`benchmarks.shotbench.tool.Tool`, which says two command lines, and list it
in ``benchmarks.shotbench.tools.TOOLS``.
"""
