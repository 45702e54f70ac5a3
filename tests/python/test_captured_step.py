"""A recorded step is the step: counters, rates, stages, skipped steps. On a stand-in, and on a GPU where one is.

Over 400 lines: the stand-in for a CUDA graph, and each way in which a step may differ from its recording.
"""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from conftest import losses
from copycat import ops
from copycat.data import clean_plate
from copycat.data.dataset import Dataset
from copycat.data.devices import is_out_of_memory
from copycat.model import cat
from copycat.model.network import ROWS
from copycat.settings.tables import Settings
from copycat.training import graph as captured_step
from copycat.training import outputs
from copycat.training.crops import Sampler
from copycat.training.graph import WARM_UP_STEPS, CapturedStep
from copycat.training.group import DistributedError, Group, Rendezvous
from copycat.training.member import Member
from copycat.training.optimiser import Optimiser
from copycat.training.start import Result
from copycat.training.step import Learner, TrainingError
from stand_in_cuda import StandInCuda
from torch import Tensor

Train = Callable[..., Result]
CPU = torch.device("cpu")
ENCODING = ops.Encoding((0.0,) * 3, (0.5,) * 3, (0.3,) * 3)


def data(pairs: int = 4, level: int = 1, height: int = 48, width: int = 64) -> Dataset:
    """Noise, and the same darker."""
    source = torch.rand((pairs, height, width, 3), generator=torch.Generator().manual_seed(level)).half()
    return Dataset(
        pairs=(),
        input_bank=source,
        target_bank=(0.7 * source.float()).half(),
        mask_bank=None,
        valid=torch.tensor([[0, 0, width, height]] * pairs, dtype=torch.int32),
        centres=torch.tensor([[7, 9]] * pairs, dtype=torch.int32),
        centre_offsets=torch.arange(pairs + 1, dtype=torch.int32),
        input_channels=("R", "G", "B"),
        target_channels=("R", "G", "B"),
        residual=(0, 1, 2),
        input_encoding=ENCODING,
        target_encoding=ENCODING,
        linear=False,
        level=level,
        data_hash="",
    )


def with_plate(trained: Dataset) -> Dataset:
    return dataclasses.replace(trained, clean_plate=clean_plate.of_frames(trained.target_bank, trained.valid, ENCODING))


def new_learner(
    device: torch.device = CPU,
    batch: int = 4,
    plate_size: tuple[int, int] | None = None,
    group: Group | None = None,
    **knobs: Any,
) -> Learner:
    settings = Settings(model_size="Small", crop_size=32, flip_probability=0.5, **knobs)
    header = cat.ModelHeader(
        row=ROWS["Small"],
        channels_in=("R", "G", "B"),
        channels_out=("R", "G", "B"),
        residual=(0, 1, 2),
        input_encoding=ENCODING,
        target_encoding=ENCODING,
        plate_size=plate_size,
        settings=settings.to_dict(),
        data_hash="",
    )
    return Learner(header, settings, device, batch, group=group)


def rate(step: int) -> float:
    return 1e-3 * (1 + step % 5)


def silent(sentence: str) -> None:
    raise AssertionError(sentence)


def learn(by: Learner, on: Dataset, steps: range, warn: Callable[[str], None] = silent) -> Tensor:
    """Makes steps; [n, 3] losses."""
    return torch.stack([by.learn(on, step, rate(step), warn) for step in steps]).cpu()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, tiny: None) -> Callable[..., StandInCuda]:
    """Lets learners that are made from now on record their steps on the stand-in."""

    def call(failure: Exception | None = None) -> StandInCuda:
        cuda = StandInCuda(failure)
        monkeypatch.setattr(captured_step, "recorder_for", lambda device: CapturedStep(device, cuda))
        return cuda

    return call


def assert_same(one: Learner, other: Learner) -> None:
    (updates, vectors), (other_updates, others) = one.state(), other.state()
    assert updates == other_updates
    for name, vector in vectors.items():
        assert torch.equal(vector, others[name]), name


# -- on the stand-in ----------------------------------------------------------------------------------------------


def test_a_training_of_three_stages_records_three_steps_and_is_the_same(
    recorded: Callable[..., StandInCuda], train: Train
) -> None:
    knobs: dict[str, Any] = {"epochs": 40, "flop_probability": 0.5, "image_interval": 7, "checkpoint_interval": 5}
    plain = train(**knobs).run
    cuda = recorded()
    run = train(**knobs).run
    assert (cuda.recordings, cuda.replays) == (3, 40 - 3 * WARM_UP_STEPS)
    assert losses(run) == losses(plain)
    weights, others = (cat.load(trained.checkpoint(40))[1] for trained in (run, plain))
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_a_resumed_training_counts_on(recorded: Callable[..., StandInCuda]) -> None:
    on, cuda = data(), recorded()
    once, first, second = new_learner(), new_learner(), new_learner()
    whole = learn(once, on, range(16))
    learn(first, on, range(7))
    second.restore(*first.state())
    remaining = learn(second, on, range(7, 16))
    assert torch.equal(remaining, whole[7:])
    assert_same(second, once)
    assert (cuda.recordings, cuda.replays) == (3, 16 + 7 + 9 - 3 * WARM_UP_STEPS)


class Pair:
    """Stands for a group of two whose other half, being the same, gives the same gradient and losses."""

    rendezvous = Rendezvous(0, 2, "127.0.0.1", 1)

    def part_of(self, count: int) -> range:
        return range(count // 2)

    def sum(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            tensor.mul_(2)


def test_in_a_group_only_the_own_gradient_is_recorded(recorded: Callable[..., StandInCuda]) -> None:
    on, cuda = data(), recorded()
    group = cast(Group, Pair())
    trained, plain = new_learner(group=group), new_learner(group=group)
    plain._captured = None
    assert torch.equal(learn(trained, on, range(12)), learn(plain, on, range(12)))
    assert_same(trained, plain)
    assert not torch.equal(trained.parameters.weights, new_learner().parameters.weights)
    assert (cuda.recordings, cuda.replays) == (1, 12 - WARM_UP_STEPS)


class LosesTheOther(Pair):
    """A group whose other half is gone when weights are averaged."""

    rendezvous = Rendezvous(0, 2, "127.0.0.1", 1, sync_interval=4)

    def sum(self, *tensors: Tensor) -> None:
        tensors[0].add_(1)
        raise DistributedError("gone")


def test_weights_stay_as_they_are_when_a_process_is_lost_while_they_are_averaged(tiny: None) -> None:
    trained = new_learner(group=cast(Group, LosesTheOther()))
    learn(trained, data(), range(3))
    before = {name: vector.clone() for name, vector in trained.state()[1].items()}
    with pytest.raises(DistributedError):
        trained.agree()
    assert all(torch.equal(vector, before[name]) for name, vector in trained.state()[1].items())


def test_crops_that_the_host_gathers_are_recorded_too(
    recorded: Callable[..., StandInCuda], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The banks lie on disk: a replay reads the crops that were copied for it, and the training is the same."""
    monkeypatch.setattr(Learner, "_crops_come_from_host", lambda self, data: data.level == 1)
    cuda = recorded()
    plate = (48, 64)
    trained, plain = new_learner(plate_size=plate), new_learner(plate_size=plate)
    plain._captured = None
    sets = with_plate(data(level=2)), with_plate(data())
    trained.micro_batch = plain.micro_batch = 3
    for stage, on in enumerate(sets):
        steps = range(stage * 8, stage * 8 + 8)
        got = learn(trained, on, steps)
        with monkeypatch.context() as patch:
            patch.setattr(Learner, "_crops_come_from_host", lambda self, data: False)
            assert torch.equal(got, learn(plain, on, steps))
    assert_same(trained, plain)
    assert (cuda.recordings, cuda.replays) == (2, 16 - 2 * WARM_UP_STEPS)


def test_a_clean_plate_is_recorded_too(recorded: Callable[..., StandInCuda]) -> None:
    on, cuda = with_plate(data()), recorded()
    trained, plain = new_learner(plate_size=(48, 64)), new_learner(plate_size=(48, 64))
    plain._captured = None
    assert torch.equal(learn(trained, on, range(12)), learn(plain, on, range(12)))
    assert_same(trained, plain)
    assert (cuda.recordings, cuda.replays) == (1, 12 - WARM_UP_STEPS)


def test_going_back_and_forth_between_data_sets_records_anew(recorded: Callable[..., StandInCuda]) -> None:
    sets, cuda = (data(level=1), data(level=2)), recorded()
    plain = new_learner()
    plain._captured = None
    trained = new_learner()
    for stage in range(4):
        steps = range(stage * 6, stage * 6 + 6)
        assert torch.equal(learn(trained, sets[stage % 2], steps), learn(plain, sets[stage % 2], steps))
    assert_same(trained, plain)
    assert cuda.recordings == 4


def test_a_recorded_step_skips_what_is_not_finite(recorded: Callable[..., StandInCuda]) -> None:
    on, cuda = data(pairs=3), recorded()
    on.input_bank[1, 20:30, 30:40] = float("inf")  # in some crops of one pair
    trained = new_learner(batch=1)
    weights, found = [], []
    for step in range(40):
        found.append(bool(learn(trained, on, range(step, step + 1)).isfinite().all()))
        weights.append(trained.parameters.weights.clone())
    changed = [not torch.equal(a, b) for a, b in itertools.pairwise(weights)]
    assert changed == found[1:]
    assert found[WARM_UP_STEPS:].count(False) > 3
    assert cuda.replays == 40 - WARM_UP_STEPS
    assert trained.state()[0] == found.count(True)


def test_the_rate_of_a_step_reaches_its_replay(recorded: Callable[..., StandInCuda]) -> None:
    on = data()
    recorded()
    trained = new_learner()
    learn(trained, on, range(10))
    before = trained.parameters.weights.clone()
    trained.learn(on, 10, 0.0, silent)
    assert torch.equal(trained.parameters.weights, before)
    trained.learn(on, 11, 1e-2, silent)
    assert not torch.equal(trained.parameters.weights, before)


def test_a_recording_that_fails_is_reported_once_and_training_goes_on(recorded: Callable[..., StandInCuda]) -> None:
    plain = new_learner()
    cuda = recorded(failure=torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 7 GiB\nmore"))
    warnings: list[str] = []
    trained = new_learner()
    for level in (4, 2, 1):
        steps = range(8 * level, 8 * level + 8)
        assert torch.equal(
            learn(trained, data(level=level), steps, warnings.append), learn(plain, data(level=level), steps)
        )
    assert_same(trained, plain)
    assert (cuda.recordings, cuda.replays) == (0, 0)
    assert cuda.current is cuda.main
    assert warnings == [
        "the training step could not be recorded as a CUDA graph, training goes on without: "
        "CUDA out of memory. Tried to allocate 7 GiB"
    ]


def test_a_step_that_waits_for_the_device_cannot_be_recorded() -> None:
    cuda, warnings = StandInCuda(), []
    number = torch.zeros(())
    step = CapturedStep(CPU, cuda)

    def work() -> Tensor:
        number.add_(1)
        return number * number.item()

    step.begin(work)
    trained = [float(step(warnings.append)) for _ in range(6)]
    assert trained == [1, 4, 9, 16, 25, 36]
    assert step.gave_up
    assert warnings[0].endswith("operation not permitted when stream is capturing")
    assert len(warnings) == 1


def test_short_memory_makes_smaller_parts_and_these_are_recorded(
    recorded: Callable[..., StandInCuda], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, warnings = recorded(), []
    real, asked = ops.sample_crops, []

    def short_of_memory(*arguments: Any, batch: int, **more: Any) -> Any:
        asked.append(batch)
        if batch > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*arguments, batch=batch, **more)

    monkeypatch.setattr(ops, "sample_crops", short_of_memory)
    trained = new_learner()
    learn(trained, data(), range(9), warnings.append)
    # Once in vain, then two parts for each step of the warm-up and for the recording; a replay asks for nothing.
    assert asked == [4] + [2, 2] * (WARM_UP_STEPS + 1)
    assert (cuda.recordings, cuda.replays) == (1, 9 - WARM_UP_STEPS)
    assert warnings == ["memory is short: 2 crops go through the network at a time"]


@pytest.mark.parametrize("records", [False, True])
def test_an_update_that_runs_out_of_memory_is_not_made_twice(
    records: bool, recorded: Callable[..., StandInCuda], tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if records:
        recorded()
    real, trained = Optimiser.step, []

    def half_a_step(self: Optimiser, rate: Tensor, loss: Tensor) -> None:
        trained.append(loss)
        real(self, rate, loss)
        if len(trained) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Optimiser, "step", half_a_step)
    learner = new_learner()
    with pytest.raises(TrainingError, match="not enough memory for the optimiser of a Small model"):
        learn(learner, data(), range(5))
    assert len(trained) == 2


def test_an_update_of_a_group_that_runs_out_of_memory_ends_the_training(
    tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short_of_memory(self: Optimiser, rate: Tensor, loss: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Optimiser, "step", short_of_memory)
    with pytest.raises(TrainingError, match="not enough memory for the optimiser of a Small model"):
        learn(new_learner(group=cast(Group, Pair())), data(), range(1))


@pytest.mark.parametrize("from_host", [False, True])
def test_a_replay_after_which_memory_is_short_is_not_made_twice(
    from_host: bool, recorded: Callable[..., StandInCuda], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay updates the weights, without Python's knowing."""
    monkeypatch.setattr(Learner, "_crops_come_from_host", lambda self, data: from_host)
    on, cuda, trained = data(), recorded(), new_learner()
    learn(trained, on, range(6))
    replays = cuda.replays

    def short_of_memory(self: CapturedStep) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CapturedStep, "_stay_close", short_of_memory)
    with pytest.raises(TrainingError, match="resume from the last saved state"):
        learn(trained, on, range(6, 7))
    assert cuda.replays == replays + 1


def test_a_replay_s_crops_that_find_no_memory_are_fewer(
    recorded: Callable[..., StandInCuda], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Crops that the host gathers are there before the step begins, which is made anew with smaller parts."""
    monkeypatch.setattr(Learner, "_crops_come_from_host", lambda self, data: True)
    on, warnings = data(), list[str]()
    recorded()
    trained = new_learner()
    learn(trained, on, range(6))
    real = Sampler.crops

    def short_of_memory(self: Sampler, step: Any, first: int, count: int) -> Any:
        if count > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, step, first, count)

    monkeypatch.setattr(Sampler, "crops", short_of_memory)
    learn(trained, on, range(6, 9), warnings.append)
    assert warnings == ["memory is short: 2 crops go through the network at a time"]
    assert trained.state()[0] == 9


def test_a_picture_for_which_a_recording_left_no_memory_is_made_without_it(
    recorded: Callable[..., StandInCuda], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda, asked = recorded(), []
    real = outputs.contact_sheet

    def short_of_memory(network: Any, data: Dataset, crop: int, step: int, *remaining: Any) -> Any:
        asked.append(step)
        if asked.count(step) == 1 and step == 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(network, data, crop, step, *remaining)

    monkeypatch.setattr(outputs, "contact_sheet", short_of_memory)
    run = train(epochs=20, use_multi_resolution_training=False, image_interval=5).run
    assert asked == [5, 10, 10, 15, 20]
    assert (cuda.recordings, cuda.replays) == (2, 20 - 2 * WARM_UP_STEPS)
    assert len(losses(run)) == 20


def test_what_a_level_took_is_free_before_the_next_is_placed(
    recorded: Callable[..., StandInCuda], train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded()
    alive: list[weakref.ref[Dataset]] = []
    real = Member._on_device

    def placed(self: Member, *sets: Dataset) -> list[Dataset]:
        assert not any(level() for level in alive), "the last level is still there"
        assert not self.learner._captured.recorded
        (trained,) = (dataclasses.replace(data) for data in real(self, *sets))
        alive.append(weakref.ref(trained))
        return [trained]

    monkeypatch.setattr(Member, "_on_device", placed)
    train(epochs=24)
    assert len(alive) == 3


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (OSError("out of memory"), False),
    ],
)
def test_short_memory_is_distinguished_from_other_failures(error: Exception, short: bool) -> None:
    assert is_out_of_memory(error) == short


def test_the_host_stays_close_to_the_device() -> None:
    cuda = StandInCuda()
    step = CapturedStep(CPU, cuda)
    step.begin(lambda: torch.zeros(3))
    for _ in range(captured_step._IN_FLIGHT + 5):
        step(silent)
    assert cuda.waits == 5


# -- on a GPU -----------------------------------------------------------------------------------------------------

GPU = torch.device("cuda", 0)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions whose sums are in the same order each time, so that two trainings do not drift apart."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def without_recording(device: torch.device = GPU, **knobs: Any) -> Learner:
    trained = new_learner(device, **knobs)
    assert trained._captured is not None
    trained._captured.gave_up = True
    return trained


@pytest.mark.gpu
def test_on_a_gpu_a_recorded_step_is_the_plain_one(deterministic: None, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = []
    real = CapturedStep._record
    monkeypatch.setattr(
        CapturedStep, "_record", lambda self, *remaining: (recordings.append(1), real(self, *remaining))[1]
    )
    trained, plain = new_learner(GPU), without_recording()
    for stage, level in enumerate((4, 2, 1)):
        on, steps = data(level=level).to(GPU), range(stage * 20, stage * 20 + 20)
        torch.testing.assert_close(learn(trained, on, steps), learn(plain, on, steps), rtol=3e-2, atol=1e-4)
    assert len(recordings) == 3
    assert trained._captured is not None
    assert not trained._captured.gave_up
    assert trained.state()[0] == plain.state()[0] == 60


@pytest.mark.gpu
def test_on_a_gpu_pinned_banks_are_recorded_too(deterministic: None) -> None:
    trained, plain = new_learner(GPU), without_recording()
    on = data().to(GPU, pinned=True)
    torch.testing.assert_close(learn(trained, on, range(12)), learn(plain, on, range(12)), rtol=3e-2, atol=1e-4)
    assert trained._captured is not None
    assert not trained._captured.gave_up


@pytest.mark.gpu
def test_on_a_gpu_a_clean_plate_is_recorded_too(deterministic: None) -> None:
    size = (48, 64)
    trained, plain, on = (
        new_learner(GPU, plate_size=size),
        without_recording(plate_size=size),
        with_plate(data()).to(GPU),
    )
    torch.testing.assert_close(learn(trained, on, range(12)), learn(plain, on, range(12)), rtol=3e-2, atol=1e-4)
    assert trained._captured is not None
    assert not trained._captured.gave_up


@pytest.mark.gpu
def test_on_a_gpu_200_steps_follow_the_cpu_s_loss_curve() -> None:
    curves = []
    for device in (CPU, GPU):
        on = data(pairs=8, height=96, width=128)
        trained = new_learner(device, batch=8)
        losses = learn(trained, on if device.type == "cpu" else on.to(device), range(200))[:, 0]
        assert losses.isfinite().all()
        curves.append(losses)
    here, there = curves
    # The same crops and weights: the first steps differ by rounding alone. Later ones drift apart, as two trainings
    # on one device with another order of sums do; means over 20 steps hold the curve.
    torch.testing.assert_close(there[:3], here[:3], rtol=2e-2, atol=1e-5)
    torch.testing.assert_close(there.view(10, 20).mean(1), here.view(10, 20).mean(1), rtol=0.2, atol=2e-4)
    assert float(there[-20:].mean()) < 0.3 * float(there[:5].mean())


@pytest.mark.gpu
def test_on_a_gpu_a_resumed_training_draws_the_same_crops(deterministic: None) -> None:
    on = data().to(GPU)
    once, first, second = (new_learner(GPU) for _ in range(3))
    whole = learn(once, on, range(20))
    learn(first, on, range(9))
    updates, vectors = first.state()
    second.restore(updates, {name: vector.cpu() for name, vector in vectors.items()})
    # Another seed's or step's crops would give losses that differ by far more than rounding.
    torch.testing.assert_close(learn(second, on, range(9, 20)), whole[9:], rtol=3e-2, atol=1e-4)
    assert second.state()[0] == 20


@pytest.mark.gpu
def test_on_a_gpu_a_recorded_step_skips_what_is_not_finite() -> None:
    on = data(pairs=3)
    on.input_bank[1, 20:30, 30:40] = float("inf")
    trained = new_learner(GPU, batch=1)
    found = learn(trained, on.to(GPU), range(40)).isfinite().all(1)
    assert 3 < int((~found).sum()) < 20
    assert trained.state()[0] == int(found.sum())
    assert trained.parameters.weights.isfinite().all()


@pytest.mark.gpu
def test_on_a_gpu_a_step_that_cannot_be_recorded_is_reported_and_the_next_learner_records() -> None:
    number, warnings = torch.zeros((), device=GPU), []
    before = torch.cuda.current_stream(GPU)
    step = CapturedStep(GPU)

    def work() -> Tensor:
        number.add_(1)
        return number * number.item()

    step.begin(work)
    assert [float(step(warnings.append)) for _ in range(6)] == [1, 4, 9, 16, 25, 36]
    assert step.gave_up
    assert len(warnings) == 1
    assert torch.cuda.current_stream(GPU) == before
    trained = new_learner(GPU)
    learn(trained, data().to(GPU), range(8))
    assert trained._captured is not None
    assert not trained._captured.gave_up


@pytest.mark.gpu
def test_on_a_gpu_a_training_writes_its_files_between_replays(train: Train) -> None:
    run = train(epochs=45, image_interval=10, checkpoint_interval=15).run
    assert all(loss is not None for loss in losses(run))
    assert len(losses(run)) == 45
    assert [step for step, _ in run.checkpoints()] == [15, 30, 45]
    assert sum(losses(run)[-5:]) < sum(losses(run)[:5])
