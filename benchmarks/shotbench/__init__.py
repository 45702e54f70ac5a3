"""ShotBench: the same shots, the same clock, every tool by its own command line.

``python -m benchmarks.shotbench`` builds the tasks and lets each tool train on the painted frames until the clock stops
it. Then the tool renders the held-out frames, which are scored. Each task and tool gets a result, all together a page
of pictures.

To add a tool, say its two command lines in a file and name that file, ``--adapter mytool.py --tools mytool``::

    from benchmarks.shotbench.tool import Tool

    class MyTool(Tool):
        name = "mytool"

        def version(self):
            return "1.0"

        def train_command(self, job):  # runs until Ctrl-C, which must leave a model
            train = job.task.folder / "train"
            return ["mytool", "train", str(train / "src"), str(train / "dst"), str(job.out / "model")]

        def render_command(self, job, frames, rendered):
            return ["mytool", "apply", str(job.out / "model"), str(frames), str(rendered)]

:class:`benchmarks.shotbench.tool.Tool` says what else an adapter may do. Tools of this repository are listed in
``benchmarks.shotbench.tools.TOOLS``.
"""
