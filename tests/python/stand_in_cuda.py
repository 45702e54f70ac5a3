"""Stands for ``torch.cuda`` on the CPU, as far as CUDA graphs go, and streams.

A recording notes torch's operators with their very arguments and undoes what they did; a replay calls them again and
puts their results where those of the recording were. So whatever a step takes from Python (a number of a step, a rate,
the address of a tensor) is frozen in a replay as it is on a GPU, and waiting for a value is an error.
"""

from __future__ import annotations

import threading
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


class _Watch(TorchDispatchMode):
    """Has a stream's operators checked against those of other streams."""

    def __init__(self, stream: _OrderedStream) -> None:
        super().__init__()
        self._stream = stream

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        named = named or {}
        schema = operator._schema.arguments
        given = dict(zip((argument.name for argument in schema), arguments, strict=False)) | named
        written = [argument.name for argument in schema if argument.alias_info and argument.alias_info.is_write]
        with self._stream.cuda.lock:
            tick = self._stream.begin(str(operator))
            for name, value in given.items():
                for tensor in _tensors(value):
                    self._stream.cuda.access(self._stream, tick, _address(tensor), name in written)
        result = operator(*arguments, **named)
        with self._stream.cuda.lock:
            for tensor in _tensors(result):
                self._stream.cuda.keep(tensor)
                self._stream.cuda.access(self._stream, tick, _address(tensor), True)
        return result


class _OrderedStream:
    """Knows how far each stream was when this one's work begins."""

    def __init__(self, cuda: StandInStreams, name: str) -> None:
        self.cuda = cuda
        self.name = name
        self.clock: dict[str, int] = {name: 0}

    def begin(self, what: str) -> int:
        self.clock[self.name] += 1
        self.cuda.log.append((self.name, what))
        return self.clock[self.name]

    def follow(self, clock: dict[str, int]) -> None:
        for name, tick in clock.items():
            self.clock[name] = max(self.clock.get(name, 0), tick)

    def wait_stream(self, other: _OrderedStream) -> None:
        self.follow(other.clock)

    def wait_event(self, event: _OrderedEvent) -> None:
        assert event.clock is not None, "nobody has recorded the event"
        self.follow(event.clock)


class _OrderedEvent:
    def __init__(self, cuda: StandInStreams) -> None:
        self._cuda = cuda
        self.clock: dict[str, int] | None = None

    def record(self, stream: _OrderedStream) -> None:
        self.clock = dict(stream.clock)

    def synchronize(self) -> None:
        assert self.clock is not None, "nobody has recorded the event"
        with self._cuda.lock:
            for name, tick in self.clock.items():
                self._cuda.done[name] = max(self._cuda.done.get(name, 0), tick)


class StandInStreams:
    """The part of ``torch.cuda`` that frames in flight use. It computes at once, and fails where a GPU might not wait:

    where an operator uses memory that another stream's operator has written, or writes what another uses, and no event
    says that this one is later.

    Attributes:
        log: stream and operator, in the order of the launches.
        done: for each stream, how far somebody has waited for it.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.done: dict[str, int] = {}
        self.lock = threading.RLock()
        self.streams: list[_OrderedStream] = []
        self._kept: list[Tensor] = []  # so that no address is used twice
        self._used: dict[int, dict[str, tuple[int, int]]] = {}  # address -> stream -> last use, last write
        self._main = self._stream("main")
        self._current = threading.local()

    def _stream(self, name: str) -> _OrderedStream:
        self.streams.append(_OrderedStream(self, name))
        return self.streams[-1]

    def access(self, stream: _OrderedStream, tick: int, address: int, writes: bool) -> None:
        uses = self._used.setdefault(address, {})
        for name, (used, written) in uses.items():
            before = used if writes else written
            waited = max(stream.clock.get(name, 0), self.done.get(name, 0))
            assert name == stream.name or before <= waited, f"{stream.name} does not wait for {name}"
        _, written = uses.get(stream.name, (0, 0))
        uses[stream.name] = tick, tick if writes else written

    def keep(self, tensor: Tensor) -> None:
        self._kept.append(tensor)

    @property
    def idle(self) -> bool:
        """Whether somebody has waited for all that was launched."""
        return all(self.done.get(stream.name, 0) >= stream.clock[stream.name] for stream in self.streams)

    def Stream(self, device: torch.device, priority: int = 0) -> _OrderedStream:  # noqa: N802
        return self._stream(("coming", "going")[len(self.streams) - 1])

    def Event(self, blocking: bool) -> _OrderedEvent:  # noqa: N802
        return _OrderedEvent(self)

    def device(self, device: torch.device) -> nullcontext[None]:
        return nullcontext()

    def current_stream(self, device: torch.device) -> _OrderedStream:
        return getattr(self._current, "stream", self._main)

    @contextmanager
    def stream(self, stream: _OrderedStream) -> Iterator[None]:
        before = self.current_stream(torch.device("cpu"))
        self._current.stream = stream
        try:
            with _Watch(stream):
                yield
        finally:
            self._current.stream = before
