"""The processes that train together, on one machine or on many: how they meet, sum tensors and exchange messages.

Each is started with the same command and finds the others through its environment: ``COPYCAT_MAIN_ADDR``,
``COPYCAT_MAIN_PORT``, ``COPYCAT_RANK`` and ``COPYCAT_WORLD_SIZE``, or the variables that torchrun sets. They exchange
numbers and JSON, so that nothing received can run code. The traffic is neither encrypted nor authenticated: use a
network that you trust.
"""

from __future__ import annotations

import ipaddress
import json
import os
import platform
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from copycat.errors import CopycatError
from copycat.training.control import StoppedError

_OURS = ("COPYCAT_MAIN_ADDR", "COPYCAT_MAIN_PORT", "COPYCAT_RANK", "COPYCAT_WORLD_SIZE")
_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")
_SYNC_INTERVAL = "COPYCAT_SYNC_INTERVAL"
LOST = "another process of this training has ended, or the connection to it is lost"
_MEETING = timedelta(minutes=10)
# The others wait for rank 0's next order while it renders a long validation.
_WAITING = timedelta(days=1)
_LOOK = timedelta(seconds=0.25)
# After a stop signal, rank 0 waits so long for a process that does not answer; the others wait longer for its order.
_PATIENCE_SECONDS = {True: 5.0, False: 30.0}
_CLOSING_SECONDS = 5.0


class DistributedError(CopycatError):
    """The processes of a training cannot meet, do not fit together, or have lost each other."""


@dataclass(frozen=True)
class Rendezvous:
    """Where the processes of a training meet, and which of them this one is.

    Attributes:
        rank: 0 to size - 1; rank 0 alone writes files.
        size: the number of processes.
        address: where rank 0 listens.
        port: where rank 0 listens.
        sync_interval: 1 to sum the gradients of each step, n to average the weights every n steps.
        by_torchrun: whether torchrun has started them, which has a meeting point of its own.
    """

    rank: int
    size: int
    address: str
    port: int
    sync_interval: int = 1
    by_torchrun: bool = False

    def among(self, size: int) -> Rendezvous:
        """The rendezvous of at most ``size`` processes; a rank beyond them has none."""
        return replace(self, size=min(self.size, size))


def find_rendezvous(environment: Mapping[str, str] = os.environ) -> Rendezvous | None:
    """The rendezvous that the environment names; None for a local training.

    Raises:
        DistributedError: a variable's value makes no sense.
    """
    names = next((names for names in (_OURS, _TORCHRUN) if all(environment.get(name) for name in names)), None)
    if names is None:
        return None
    size = _integer(environment, names[3], 1, 1 << 20)
    found = Rendezvous(
        rank=_integer(environment, names[2], 0, size - 1),
        size=size,
        address=environment[names[0]],
        port=_integer(environment, names[1], 1, 65535),
        sync_interval=_integer(environment, _SYNC_INTERVAL, 1, 1 << 30) if environment.get(_SYNC_INTERVAL) else 1,
        by_torchrun=names is _TORCHRUN,
    )
    return found if size > 1 else None


def _integer(environment: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = environment[name]
    if text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise DistributedError(f"{name} is {text!r}: it must be a whole number from {least} to {most}")


class Group:
    """The processes once they have met. For the training's thread alone.

    Attributes:
        rendezvous: this process's.
        local_rank: this process's rank among those on its machine.
        local_size: the number of processes on its machine.
        lost: why nothing more can be exchanged, empty while all is well.
    """

    def __init__(self, rendezvous: Rendezvous, watch: Callable[[], str] = str) -> None:
        """Waits for the others, ten minutes at most.

        Args:
            rendezvous: where they meet.
            watch: called a few times a second while this process waits for others; returns the stop signal that was
                received, or an empty string, and raises when the waiting is in vain.

        Raises:
            DistributedError: they did not come.
            StoppedError: a stop signal was received.
        """
        self.rendezvous = rendezvous
        self._watch = watch
        self.lost = ""
        self._steps: dist.ProcessGroup | None = None
        if interface := _interface(rendezvous.address, rendezvous.port):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        try:
            self._messages = self._meet()
            hosts = self.gather(platform.node())
        except BaseException:
            if dist.is_initialized():
                self.close()
            raise
        self.local_rank = hosts[: rendezvous.rank].count(hosts[rendezvous.rank])
        self.local_size = hosts.count(hosts[rendezvous.rank])

    def _meet(self) -> dist.ProcessGroup:
        """Connects, in a thread, since torch waits without looking at signals; returns the group for messages."""
        own = self.rendezvous
        groups: list[dist.ProcessGroup] = []
        failures: list[BaseException] = []

        def connect() -> None:
            try:
                with _named(f"rank {own.rank} of {own.size} did not meet the others at {own.address}:{own.port}"):
                    if own.by_torchrun:
                        dist.init_process_group("gloo", "env://", _MEETING, own.size, own.rank)
                    else:
                        dist.init_process_group("gloo", None, _MEETING, own.size, own.rank, _store(own))
                    groups.append(dist.new_group(backend="gloo", timeout=_WAITING))
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=connect, name="copycat-meeting", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(_LOOK.total_seconds())
            if thread.is_alive() and (signal := self._watch()):
                raise StoppedError(signal)
        if failures:
            raise failures[0]
        return groups[0]

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which decides and writes."""
        return self.rendezvous.rank == 0

    def meet_on(self, device: torch.device) -> None:
        """Prepares sums of tensors on ``device``; all processes call it.

        Raises:
            DistributedError: some have a GPU and some have none.
        """
        devices = self.gather({"device": device.type, "host": platform.node()})
        for rank, other in enumerate(devices):
            if other["device"] != devices[0]["device"]:
                raise DistributedError(
                    f"rank 0 on {devices[0]['host']} trains on {devices[0]['device']}, rank {rank} on {other['host']} "
                    f"on {other['device']}: all must have a GPU, or switch Use GPU if available off"
                )
        with _named("the processes of the training could not connect"):
            if device.type == "cuda":
                torch.cuda.set_device(device)
                self._steps = dist.new_group(backend="nccl")

    def part_of(self, count: int) -> range:
        """This process's share of ``count`` items, as even as possible."""
        rank, size = self.rendezvous.rank, self.rendezvous.size
        return range(count * rank // size, count * (rank + 1) // size)

    def sum(self, *tensors: Tensor) -> None:
        """Replaces each tensor by its sum over all processes, the same bits for all."""
        for tensor in tensors:
            self._together(dist.all_reduce, tensor, group=self._steps)

    def share(self, *tensors: Tensor) -> None:
        """Replaces each tensor by that of rank 0."""
        for tensor in tensors:
            self._together(dist.broadcast, tensor, 0, group=self._steps)

    def say(self, message: Any = None) -> Any:
        """Sends a message of rank 0, plain data as in JSON, to all; returns it in each process."""
        data = json.dumps(message).encode() if self.leads else b""
        length = torch.tensor(len(data))
        self._together(dist.broadcast, length, 0, group=self._messages)
        sent = _as_tensor(data, int(length))
        self._together(dist.broadcast, sent, 0, group=self._messages)
        return json.loads(sent.numpy().tobytes())

    def gather(self, message: Any) -> list[Any]:
        """Exchanges a message of each process, plain data as in JSON; returns all in the order of the ranks."""
        data = json.dumps(message).encode()
        lengths = [torch.tensor(0) for _ in range(self.rendezvous.size)]
        self._together(dist.all_gather, lengths, torch.tensor(len(data)), group=self._messages)
        longest = max(int(length) for length in lengths)
        parts = [_as_tensor(b"", longest) for _ in lengths]
        self._together(dist.all_gather, parts, _as_tensor(data, longest), group=self._messages)
        return [json.loads(part.numpy().tobytes()[: int(n)]) for part, n in zip(parts, lengths, strict=True)]

    def close(self) -> None:
        """Closes the connections; nothing else can be exchanged.

        torch waits for operations that have begun. One with a process that does not answer is left to a thread that
        ends with this process.
        """
        thread = threading.Thread(target=dist.destroy_process_group, name="copycat-closing", daemon=True)
        thread.start()
        thread.join(_CLOSING_SECONDS if self.lost else None)

    def _together(self, operation: Callable[..., Any], *arguments: Any, group: dist.ProcessGroup | None) -> None:
        """Makes an operation that all processes make; raises DistributedError, or StoppedError after a signal."""
        if self.lost:
            raise DistributedError(self.lost)
        try:
            with _named(LOST):
                if group is not None and group is self._steps:  # NCCL: only queued here, nothing waits
                    operation(*arguments, group=group)
                else:
                    self._wait(operation(*arguments, group=group, async_op=True))
        except BaseException as error:
            self.lost = str(error) or LOST
            raise

    def _wait(self, work: Any) -> None:
        """Waits for an operation, and looks at signals meanwhile."""
        give_up: float | None = None
        while True:
            try:
                work.wait(_LOOK)
                return
            except RuntimeError:
                if work.is_completed():
                    raise
            if signal := self._watch():
                give_up = give_up or time.monotonic() + _PATIENCE_SECONDS[self.leads]
                if time.monotonic() > give_up:
                    raise StoppedError(signal)


@contextmanager
def _named(sentence: str) -> Iterator[None]:
    """torch's errors of the connection as one sentence."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # DistBackendError and the like are of the first kind
        raise DistributedError(f"{sentence}: {str(error).partition(chr(10))[0]}") from error


def _store(rendezvous: Rendezvous) -> TCPStore:
    """The store in which the processes find each other; rank 0 listens at the given address only."""
    size, leads = rendezvous.size, rendezvous.rank == 0
    if not leads:
        return TCPStore(rendezvous.address, rendezvous.port, size, False, _MEETING)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            rendezvous.address, rendezvous.port, type=socket.SOCK_STREAM
        )[0]
        if ipaddress.ip_address(address[0]).is_loopback and rendezvous.address not in ("localhost", address[0]):
            raise DistributedError(
                f"{rendezvous.address} is {address[0]} to this machine, where no other machine finds rank 0: give the "
                "address that it has in the network"
            )
        with socket.socket(family, kind, protocol) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen()
            descriptor = listening.detach()
    except OSError as error:
        raise DistributedError(
            f"rank 0 cannot listen at {rendezvous.address}:{rendezvous.port}: {error.strerror or error}"
        ) from error
    # torch 2.6's libuv store cannot take a listening socket.
    return TCPStore(
        rendezvous.address, rendezvous.port, size, True, _MEETING, master_listen_fd=descriptor, use_libuv=False
    )


def _interface(address: str, port: int) -> str:
    """The network interface from which an address is reached, empty if unknown.

    By default gloo takes the interface that the machine's name resolves to. On many systems this is the loopback, where
    no other machine finds it.
    """
    if sys.platform != "linux":
        return ""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))  # sends nothing
            own = probe.getsockname()[0]
    except OSError:
        return ""
    named = ((name, entry.address) for name, entries in psutil.net_if_addrs().items() for entry in entries)
    return next((name for name, entry in named if entry == own), "")


def _as_tensor(data: bytes, length: int) -> Tensor:
    """[length] uint8: the data, padded with zeros."""
    return torch.frombuffer(bytearray(data.ljust(length, b"\0")), dtype=torch.uint8)
