"""Total Steps, the three stages, the learning rate, the time limit."""

from __future__ import annotations

import pytest
from copycat.settings.knob import SettingsError
from copycat.settings.tables import Settings
from copycat.training.schedule import Schedule
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("epochs", "pairs", "batch", "total"),
    [(334, 33, 1, 11022), (30000, 4, 3, 40000), (10, 5, 3, 17), (1, 7, 4, 2), (10000, 3, 0, 10000), (100, 33, 0, 207)],
)
def test_total_steps_are_epochs_times_pairs_over_batch_rounded_up(
    epochs: int, pairs: int, batch: int, total: int
) -> None:
    kind = {"batch_size_type": "Manual", "batch_size": batch} if batch else {}
    assert Settings(epochs=epochs, **kind).total_steps(pairs) == total


@pytest.mark.parametrize(("pairs", "batch"), [(1, 1), (3, 3), (16, 16), (17, 16), (500, 16)])
def test_auto_batch_is_the_pairs_but_at_most_sixteen(pairs: int, batch: int) -> None:
    assert Settings().pairs_per_step(pairs) == batch


def test_a_batch_larger_than_the_data_set_names_both() -> None:
    with pytest.raises(SettingsError, match="Batch Size 9 is larger than the data set of 4 pairs"):
        Settings(batch_size_type="Manual", batch_size=9).pairs_per_step(4)


def levels(schedule: Schedule) -> list[int]:
    return [schedule.level(schedule.progress(step, 0.0)) for step in range(schedule.total_steps)]


@given(total=st.integers(1, 5000))
def test_the_stages_are_shares_of_total_steps_and_listed_as_trained(total: int) -> None:
    schedule = Schedule(total)
    trained = levels(schedule)
    levels_of_stages = [level for level, first, last in schedule.stages() for _ in range(first, last + 1)]
    assert trained == levels_of_stages
    assert all(abs(trained.count(level) - share * total) < 1 for level, share in ((4, 0.1), (2, 0.2), (1, 0.7)))


def test_without_multi_resolution_all_steps_are_at_full_resolution() -> None:
    schedule = Schedule(50, multi_resolution=False)
    assert set(levels(schedule)) == {1}
    assert schedule.stages() == [(1, 1, 50)]


@given(total=st.integers(100, 5000), multi_resolution=st.booleans())
def test_the_learning_rate_rises_holds_and_falls_to_almost_nothing(total: int, multi_resolution: bool) -> None:
    schedule = Schedule(total, multi_resolution=multi_resolution)
    rates = [schedule.learning_rate(step, schedule.progress(step, 0.0)) for step in range(total)]
    assert all(rate > 0 for rate in rates)
    assert rates[0] < max(rates) / 2
    assert rates[-1] < max(rates) / 10


def test_a_time_limit_is_a_share_of_the_time_and_knows_no_steps() -> None:
    schedule = Schedule(1000, seconds=600.0)
    assert schedule.stages() == [(4, None, None), (2, None, None), (1, None, None)]
    assert [schedule.level(schedule.progress(5, seconds)) for seconds in (0.0, 59, 61, 179, 181, 599)] == [
        4, 4, 2, 2, 1, 1,
    ]  # fmt: skip
    assert not schedule.finished(10**6, 599.0)
    assert schedule.finished(1, 600.0)


@pytest.mark.parametrize("seconds", [0.0, 600.0])
def test_finishing_ends_soon_at_full_resolution_with_a_falling_rate(seconds: float) -> None:
    short = Schedule(100_000, seconds).finishing(2000, 60.0)
    assert short.level(short.progress(2000, 60.0)) == 1
    assert not short.finished(2000, 60.0)
    assert short.finished(2500, 75.0)
    early = short.learning_rate(2000, short.progress(2000, 60.0))
    late = short.learning_rate(2400, short.progress(2400, 72.0))
    assert late < early / 2


def test_finishing_goes_on_from_the_rate_that_has_fallen_already() -> None:
    schedule = Schedule(1000)
    before = schedule.learning_rate(900, schedule.progress(900, 0.0))
    short = schedule.finishing(900, 0.0)
    assert short.learning_rate(900, short.progress(900, 0.0)) == pytest.approx(before)
    assert short.total_steps == 1125


@given(total=st.integers(1, 10**7), seconds=st.floats(0, 1e6), multi_resolution=st.booleans())
def test_a_schedule_comes_back_from_the_resume_state(total: int, seconds: float, multi_resolution: bool) -> None:
    schedule = Schedule(total, seconds, multi_resolution)
    assert Schedule(**schedule.to_dict()) == schedule
