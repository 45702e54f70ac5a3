"""A process that has used the kernels may be forked: its child computes on threads of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORK = """
import os, sys, torch
from copycat import ops
torch.set_num_threads(4)
bank = torch.rand(4, 256, 256, 3)
before = ops.downsize(bank, 2).sum().item()
ok = True
for _ in range(3):
    child = os.fork()
    if child == 0:
        half = ops.downsize(bank, 2)
        valid = torch.tensor([[0, 0, 256, 256]] * 4, dtype=torch.int32)
        ops.statistics(bank, valid)
        os._exit(0 if half.shape == (4, 128, 128, 3) else 1)
    ok = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and ok
ok = ops.downsize(bank, 2).sum().item() == before and ok
sys.exit(not ok)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_computes() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
