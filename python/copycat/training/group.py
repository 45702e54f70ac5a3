"""The processes that make one training's steps together, on one machine or on many: who they are, and what they say.

Each is started with the same command and finds the others through its environment: ``COPYCAT_MAIN_ADDR``,
``COPYCAT_MAIN_PORT``, ``COPYCAT_RANK`` and ``COPYCAT_WORLD_SIZE``, or the variables that torchrun sets. What they send
each other is numbers and JSON, so that nothing received can run code. It is neither encrypted nor authenticated: the
address of rank 0 belongs to a network that is trusted.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import platform
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from copycat.errors import CopycatError

_OURS = ("COPYCAT_MAIN_ADDR", "COPYCAT_MAIN_PORT", "COPYCAT_RANK", "COPYCAT_WORLD_SIZE")
_TORCHRUN = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE")
_SYNC_INTERVAL = "COPYCAT_SYNC_INTERVAL"
LOST = "another process of this training has ended, or the connection to it is lost"
_SIOCGIFADDR = 0x8915  # of Linux
_MEETING = timedelta(minutes=10)
# Rank 0 may render a long validation while the others wait for what comes next.
_WAITING = timedelta(days=1)


class DistributedError(CopycatError):
    """The processes of a training cannot meet, do not fit together, or have lost each other."""


@dataclass(frozen=True)
class Rendezvous:
    """Where the processes of a training meet, and which of them this one is.

    Attributes:
        rank: 0 to size - 1; rank 0 alone writes files.
        size: how many processes there are.
        address, port: where rank 0 is found.
        sync_interval: steps after which they agree: 1 for on every gradient, more for on the weights every so often.
        by_torchrun: whether torchrun has started them, which has a meeting point of its own.
    """

    rank: int
    size: int
    address: str
    port: int
    sync_interval: int = 1
    by_torchrun: bool = False

    def among(self, size: int) -> Rendezvous:
        """The rendezvous when at most ``size`` processes have something to do; a rank beyond them has none."""
        return replace(self, size=min(self.size, size))


def find_rendezvous(environment: Mapping[str, str] = os.environ) -> Rendezvous | None:
    """What the environment says; None where the training is local.

    Raises:
        DistributedError: a variable's value makes no sense.
    """
    names = next((names for names in (_OURS, _TORCHRUN) if all(environment.get(name) for name in names)), None)
    if names is None:
        return None
    size = _whole(environment, names[3], 1, 1 << 20)
    found = Rendezvous(
        rank=_whole(environment, names[2], 0, size - 1),
        size=size,
        address=environment[names[0]],
        port=_whole(environment, names[1], 1, 65535),
        sync_interval=_whole(environment, _SYNC_INTERVAL, 1, 1 << 30) if environment.get(_SYNC_INTERVAL) else 1,
        by_torchrun=names is _TORCHRUN,
    )
    return found if size > 1 else None


def _whole(environment: Mapping[str, str], name: str, least: int, most: int) -> int:
    text = environment[name]
    if text.isascii() and text.isdecimal() and least <= int(text) <= most:
        return int(text)
    raise DistributedError(f"{name} is {text!r}: it must be a whole number from {least} to {most}")


class Group:
    """The processes once they have met.

    Attributes:
        rendezvous: this process's.
        local_rank, local_size: its place among those on its machine.
    """

    def __init__(self, rendezvous: Rendezvous) -> None:
        """Waits for the others, ten minutes at most.

        Raises:
            DistributedError: they did not come.
        """
        self.rendezvous = rendezvous
        self._steps: dist.ProcessGroup | None = None
        if interface := _interface(rendezvous.address, rendezvous.port):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        rank, size = rendezvous.rank, rendezvous.size
        where = f"rank {rank} of {size} did not meet the others at {rendezvous.address}:{rendezvous.port}"
        try:
            with _named(where), _interruptible():
                if rendezvous.by_torchrun:
                    dist.init_process_group("gloo", "env://", _MEETING, rendezvous.size, rendezvous.rank)
                else:
                    dist.init_process_group(
                        "gloo", None, _MEETING, rendezvous.size, rendezvous.rank, _store(rendezvous)
                    )
                self._words = dist.new_group(backend="gloo", timeout=_WAITING)
            hosts = self.gather(platform.node())
        except BaseException:
            if dist.is_initialized():
                self.close()
            raise
        self.local_rank = hosts[: rendezvous.rank].count(hosts[rendezvous.rank])
        self.local_size = hosts.count(hosts[rendezvous.rank])

    @property
    def leads(self) -> bool:
        """Whether this is rank 0, which decides and writes."""
        return self.rendezvous.rank == 0

    def meet_on(self, device: torch.device) -> None:
        """Makes ready for sums of what lies on ``device``; everybody calls it.

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
        """This process's part of ``count`` things, as even as can be."""
        rank, size = self.rendezvous.rank, self.rendezvous.size
        return range(count * rank // size, count * (rank + 1) // size)

    def sum(self, *tensors: Tensor) -> None:
        """Makes each tensor the sum of everybody's, the same bits for all."""
        with self._together():
            for tensor in tensors:
                dist.all_reduce(tensor, group=self._steps)

    def share(self, *tensors: Tensor) -> None:
        """Makes each tensor that of rank 0."""
        with self._together():
            for tensor in tensors:
                dist.broadcast(tensor, 0, group=self._steps)

    def say(self, words: Any = None) -> Any:
        """What rank 0 says to all, plain data as in JSON; returns it to everybody."""
        data = json.dumps(words).encode() if self.leads else b""
        with self._together():
            length = torch.tensor(len(data))
            dist.broadcast(length, 0, group=self._words)
            sent = _as_tensor(data, int(length))
            dist.broadcast(sent, 0, group=self._words)
        return json.loads(sent.numpy().tobytes())

    def gather(self, words: Any) -> list[Any]:
        """What each says, plain data as in JSON, in the order of the ranks; returns it to everybody."""
        data = json.dumps(words).encode()
        with self._together():
            lengths = [torch.tensor(0) for _ in range(self.rendezvous.size)]
            dist.all_gather(lengths, torch.tensor(len(data)), group=self._words)
            longest = max(int(length) for length in lengths)
            parts = [_as_tensor(b"", longest) for _ in lengths]
            dist.all_gather(parts, _as_tensor(data, longest), group=self._words)
        return [json.loads(part.numpy().tobytes()[: int(n)]) for part, n in zip(parts, lengths, strict=True)]

    def close(self) -> None:
        """Lets go of the connections; nothing else can be said."""
        dist.destroy_process_group()

    def _together(self) -> Any:
        return _named(LOST)


@contextmanager
def _named(sentence: str) -> Iterator[None]:
    """torch's errors of the connection as one sentence."""
    try:
        yield
    except (RuntimeError, ValueError) as error:  # DistBackendError and the like are of the first kind
        raise DistributedError(f"{sentence}: {str(error).partition(chr(10))[0]}") from error


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within it Ctrl-C ends the process at once: torch waits for others without looking at Python's signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _store(rendezvous: Rendezvous) -> TCPStore:
    """Where the processes find each other; rank 0 listens at its address alone, not at all that the machine has."""
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
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError as error:
        raise DistributedError(
            f"rank 0 cannot listen at {rendezvous.address}:{rendezvous.port}: {error.strerror or error}"
        ) from error
    # In torch 2.6, libuv's takes no socket that listens already.
    return TCPStore(
        rendezvous.address, rendezvous.port, size, True, _MEETING, master_listen_fd=listening.detach(), use_libuv=False
    )


def _interface(address: str, port: int) -> str:
    """The network interface from which an address is reached, "" where it is not known.

    Left alone, gloo takes the one that belongs to the machine's name, which on many systems is the loopback, where no
    other machine finds it.
    """
    if sys.platform != "linux":
        return ""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))  # sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                with suppress(OSError):  # one without an address
                    found = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()))
                    if socket.inet_ntoa(found[20:24]) == own:
                        return name
    except OSError:
        pass
    return ""


def _as_tensor(data: bytes, length: int) -> Tensor:
    """[length] uint8: the data, filled up with zeros."""
    return torch.frombuffer(bytearray(data.ljust(length, b"\0")), dtype=torch.uint8)
