"""Stands for ``torch.cuda`` on the CPU, as far as CUDA graphs go.

A recording notes torch's operators with their very arguments and undoes what they did; a replay calls them again and
puts their results where those of the recording were. So whatever a step takes from Python (a number of a step, a rate,
the address of a tensor) is frozen in a replay as it is on a GPU, and waiting for a value is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        named = named or {}
        if operator is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        schema = operator._schema.arguments
        given = dict(zip((argument.name for argument in schema), arguments, strict=False)) | named
        for argument in schema:
            if argument.alias_info is not None and argument.alias_info.is_write:
                for tensor in _tensors(given.get(argument.name)):
                    self._keep(tensor)
        result = operator(*arguments, **named)
        self._graph.calls.append((operator, arguments, named, result))
        return result

    def _keep(self, tensor: Tensor) -> None:
        if _address(tensor) not in self._before:
            whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
            self._before[_address(tensor)] = (whole, whole.clone())

    def undo(self) -> None:
        for whole, before in self._before.values():
            whole.copy_(before)


class Graph:
    def __init__(self, cuda: StandInCuda) -> None:
        self.calls: list[Any] = []
        self._cuda = cuda

    @torch.no_grad()
    def replay(self) -> None:
        self._cuda.replays += 1
        for operator, arguments, named, result in self.calls:
            fresh = operator(*arguments, **named)
            given = {_address(tensor) for tensor in _tensors((arguments, named))}
            for old, new in zip(_tensors(result), _tensors(fresh), strict=True):
                if _address(old) not in given:  # neither a view nor written in place
                    old.copy_(new)


class _Stream:
    def __init__(self, cuda: StandInCuda) -> None:
        self._cuda = cuda

    def wait_stream(self, other: _Stream) -> None:
        assert other is not self


class _Event:
    def __init__(self, cuda: StandInCuda) -> None:
        self._cuda = cuda

    def record(self, stream: _Stream) -> None:
        assert stream is self._cuda.current

    def synchronize(self) -> None:
        self._cuda.waits += 1


class StandInCuda:
    """The part of ``torch.cuda`` that a captured step uses.

    Attributes:
        recordings, replays, waits: how often each was done.
        failure: raised at the end of a recording, as CUDA does when a step did what cannot be recorded.
    """

    def __init__(self, failure: Exception | None = None) -> None:
        self.recordings = self.replays = self.waits = 0
        self.failure = failure
        self.main = self.current = _Stream(self)

    def Stream(self, device: torch.device) -> _Stream:  # noqa: N802
        return _Stream(self)

    def Event(self, blocking: bool) -> _Event:  # noqa: N802
        return _Event(self)

    def CUDAGraph(self) -> Graph:  # noqa: N802
        return Graph(self)

    def device(self, device: torch.device) -> nullcontext[None]:
        return nullcontext()

    def current_stream(self, device: torch.device) -> _Stream:
        return self.current

    def set_stream(self, stream: _Stream) -> None:
        self.current = stream

    @contextmanager
    def stream(self, stream: _Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def graph_pool_handle(self) -> tuple[int, int]:
        return 0, 1

    @contextmanager
    def graph(self, graph: Graph, pool: tuple[int, int], stream: _Stream, capture_error_mode: str) -> Iterator[None]:
        """As torch's, it leaves its stream current when the recording fails."""
        before, self.current = self.current, stream
        recorder = _Recorder(graph)
        try:
            with recorder:
                yield
        finally:
            recorder.undo()
        if self.failure:
            raise self.failure
        self.recordings += 1
        self.current = before
