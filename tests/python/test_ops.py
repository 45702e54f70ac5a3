"""The operators against plain torch, on every device: the reference is written with torch's own functions."""

import math

import numpy as np
import pytest
import torch
from copycat import ops
from copycat.ops import Encoding
from crop_calls import crop_positions, sample_crops
from hypothesis import given, settings
from hypothesis import strategies as st

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
BANK_DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.uint8]
OUTPUT_DTYPES = [torch.float32, torch.float16, torch.bfloat16]
ROUNDING = {torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}

pytestmark = pytest.mark.parametrize("device", DEVICES)


def values(bank):
    return bank.float() / 255 if bank.dtype == torch.uint8 else bank.float()


def noise(shape, dtype, seed=0, scale=2.0):
    random_pixels = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (random_pixels * 255).to(torch.uint8) if dtype == torch.uint8 else ((random_pixels - 0.3) * scale).to(dtype)


def some_encoding(channels, log=True):
    return Encoding(
        tuple(20.0 if log and c % 2 else 0.0 for c in range(channels)),
        tuple(0.1 * (c % 5) for c in range(channels)),
        tuple(0.5 + 0.3 * (c % 5) for c in range(channels)),  # decoded values stay in half's range
    )


def encoded(x, encoding):
    """[..., C] in float64, as the definition says it."""
    scale, mean, std = (torch.tensor(n, dtype=torch.float64) for n in (encoding.log_scale, encoding.mean, encoding.std))
    x = x.double()
    logged = x.sign() * torch.log1p(scale * x.abs())
    return (torch.where(scale > 0, logged, x) - mean) / std


def decoded(y, encoding):
    scale, mean, std = (torch.tensor(n, dtype=torch.float64) for n in (encoding.log_scale, encoding.mean, encoding.std))
    y = y.double() * std + mean
    return torch.where(scale > 0, y.sign() * torch.expm1(y.abs()) / scale.clamp(min=1e-9), y)


def whole(count, height, width):
    return torch.tensor([[0, 0, width, height]] * count, dtype=torch.int32)


def cut(bank, position, crop):
    """One crop of one bank as [C, h, w], by slicing and torch's turns."""
    frame, x, y, mirrored, quarters = position
    height, width = crop if quarters % 2 == 0 else crop[::-1]
    piece = torch.rot90(bank[frame, y : y + height, x : x + width], quarters, (0, 1))
    piece = piece.flip(1) if mirrored & 2 else piece
    return (piece.flip(0) if mirrored & 1 else piece).permute(2, 0, 1)


def assert_close(actual, expected, dtype):
    torch.testing.assert_close(actual.cpu().double(), expected, rtol=ROUNDING[dtype], atol=ROUNDING[dtype])


# --- crops ------------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_crops_are_the_pixels_that_torch_would_cut(device, data):
    draw = data.draw
    channels = draw(st.tuples(st.integers(1, 16), st.integers(1, 16)), label="channels")
    dtypes = draw(st.tuples(*[st.sampled_from(BANK_DTYPES)] * 3), label="dtypes")
    output = draw(st.sampled_from(OUTPUT_DTYPES), label="output")
    crop = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)), label="crop")
    turn = draw(st.sampled_from([0.0, 0.7]), label="turn")
    count = draw(st.integers(1, 4), label="frames")
    least = max(crop) if turn else 0
    height = max(crop[0], least) + draw(st.integers(0, 9))
    width = max(crop[1], least) + draw(st.integers(0, 9))
    batch = draw(st.integers(1, 5), label="batch")
    banks = [
        noise((count, height, width, c), d, seed)
        for seed, (c, d) in enumerate(zip((*channels, 1), dtypes, strict=True))
    ]
    if draw(st.booleans(), label="channels of a wider bank"):
        banks[0] = torch.cat([banks[0], banks[0]], dim=3)[..., : channels[0]]
    if draw(st.booleans(), label="planar bank"):
        banks[1] = banks[1].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    mask = banks[2] if draw(st.booleans(), label="mask") else None
    geometry = {
        "crop": crop,
        "batch": batch,
        "step": draw(st.integers(0, 2**40), label="step"),
        "seed": draw(st.integers(0, 2**64 - 1), label="seed"),
        "valid": whole(count, height, width),
        "turn": turn,
        "flip": 0.5,
        "flop": 0.5,
        "crops_per_pair": draw(st.integers(1, 3)),
    }
    encodings = [some_encoding(c, log=draw(st.booleans(), label="log")) for c in channels]

    actual = sample_crops(
        banks[0].to(device),
        banks[1].to(device),
        mask_bank=None if mask is None else mask.to(device),
        input_encoding=encodings[0],
        target_encoding=encodings[1],
        dtype=output,
        **geometry,
    )

    positions = crop_positions((height, width), **geometry).tolist()
    for bank, encoding, result in zip(banks, [*encodings, Encoding.identity(1)], actual, strict=True):
        if result is None:
            assert mask is None
            continue
        assert result.dtype == output
        assert result.is_contiguous(memory_format=torch.channels_last)
        cuts = torch.stack([cut(values(bank), position, crop) for position in positions])
        expected = encoded(cuts.permute(0, 2, 3, 1), encoding).permute(0, 3, 1, 2)
        assert_close(result, expected, output)


def test_one_gpu_or_none_draws_the_same_crops(device):
    geometry = {"crop": (9, 7), "batch": 64, "step": 5, "seed": 3, "valid": whole(7, 30, 40), "turn": 0.5, "flip": 0.3}
    here = crop_positions((30, 40), device=torch.device(device), **geometry)
    assert torch.equal(here.cpu(), crop_positions((30, 40), **geometry))


def test_ranks_draw_disjoint_parts_of_the_same_step(device):
    geometry = {"crop": (8, 8), "step": 11, "seed": 1, "valid": whole(5, 32, 32), "total_samples": 12}
    geometry["device"] = torch.device(device)
    together = crop_positions((32, 32), batch=12, **geometry)
    apart = [crop_positions((32, 32), batch=3, first_sample=first, **geometry) for first in (0, 3, 6, 9)]
    assert torch.equal(together, torch.cat(apart))


def test_a_step_tensor_counts_like_a_number(device):
    bank = noise((3, 20, 20, 3), torch.float16).to(device)
    same = {
        "crop": (8, 8),
        "batch": 3,
        "seed": 1,
        "valid": whole(3, 20, 20),
        "input_encoding": Encoding.identity(3),
        "target_encoding": Encoding.identity(3),
    }
    step = torch.tensor(41, device=device)
    out = sample_crops(bank, bank, step=step, **same)
    step += 1
    again = sample_crops(bank, bank, step=step, out=out, **same)
    assert again[0].data_ptr() == out[0].data_ptr()
    assert torch.equal(out[0], sample_crops(bank, bank, step=42, **same)[0])


def test_every_pass_takes_every_pair_once_in_a_new_order(device):
    geometry = {"crop": (4, 4), "batch": 6, "seed": 0, "valid": whole(6, 16, 16), "device": torch.device(device)}
    orders = [tuple(crop_positions((16, 16), step=step, **geometry)[:, 0].tolist()) for step in range(20)]
    assert all(sorted(order) == list(range(6)) for order in orders)
    assert len(set(orders)) > 15


def test_crops_per_pair_follow_each_other(device):
    geometry = {"crop": (4, 4), "batch": 6, "seed": 0, "step": 0, "valid": whole(3, 16, 16)}
    frames = crop_positions((16, 16), crops_per_pair=2, device=torch.device(device), **geometry)[:, 0].tolist()
    assert frames[0::2] == frames[1::2]
    assert sorted(frames[0::2]) == [0, 1, 2]


def test_places_are_spread_evenly_over_the_valid_rectangle(device):
    valid = torch.tensor([[2, 3, 12, 11]], dtype=torch.int32)
    geometry = {"crop": (4, 6), "batch": 5000, "step": 0, "seed": 9, "valid": valid, "device": torch.device(device)}
    positions = crop_positions((20, 20), **geometry).cpu()
    # 5 x 5 places, 200 each: chi squared with 24 degrees of freedom stays below 51 with probability 0.999.
    places = (positions[:, 2] - 3) * 5 + positions[:, 1] - 2
    counts = torch.bincount(places, minlength=25)
    assert len(counts) == 25
    assert float(((counts - 200.0) ** 2 / 200).sum()) < 51


def test_the_share_of_centred_crops_is_kept_and_frames_without_centres_go_on(device):
    centres = torch.tensor([[50, 60]], dtype=torch.int32)
    offsets = torch.tensor([0, 1, 1], dtype=torch.int32)
    positions = crop_positions(
        (100, 100),
        crop=(5, 5),
        batch=4000,
        step=0,
        seed=2,
        valid=whole(2, 100, 100),
        centres=centres,
        centre_offsets=offsets,
        centre_share=0.25,
        device=torch.device(device),
    ).cpu()
    holds = (positions[:, 1] <= 50) & (positions[:, 1] > 45) & (positions[:, 2] <= 60) & (positions[:, 2] > 55)
    shares = [float(holds[positions[:, 0] == frame].float().mean()) for frame in (0, 1)]
    assert shares[0] == pytest.approx(0.25, abs=0.04)
    assert shares[1] < 0.02


def test_chances_of_mirroring_and_turning_are_kept(device):
    geometry = {"crop": (4, 4), "batch": 4000, "step": 0, "seed": 8, "valid": whole(1, 9, 9)}
    positions = crop_positions((9, 9), flip=0.1, flop=0.5, turn=0.6, device=torch.device(device), **geometry).cpu()
    assert float((positions[:, 3] & 1).float().mean()) == pytest.approx(0.1, abs=0.03)
    assert float((positions[:, 3] >> 1).float().mean()) == pytest.approx(0.5, abs=0.04)
    turns = torch.bincount(positions[:, 4], minlength=4) / 4000
    torch.testing.assert_close(turns, torch.tensor([0.4, 0.2, 0.2, 0.2]), rtol=0, atol=0.04)


def test_a_memory_mapped_bank_is_read_in_place(device, tmp_path):
    path = tmp_path / "bank"
    pixels = noise((2, 12, 14, 3), torch.float16)
    pixels.numpy().tofile(path)
    mapped = torch.from_numpy(np.memmap(path, np.float16, "r+", shape=(2, 12, 14, 3)))
    bank = mapped if device == "cpu" else mapped.pin_memory()
    same = {"crop": (8, 8), "batch": 4, "step": 0, "seed": 0, "valid": whole(2, 12, 14)}
    encoding = Encoding.identity(3)
    crops, _, _ = sample_crops(
        bank, bank, input_encoding=encoding, target_encoding=encoding, device=torch.device(device), **same
    )
    positions = crop_positions((12, 14), **same).tolist()
    expected = torch.stack([cut(pixels.float(), position, (8, 8)) for position in positions])
    assert torch.equal(crops.cpu(), expected)


# --- downsizing -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_downsize_is_the_mean_of_the_pixels_that_exist(device, data):
    draw = data.draw
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 30)), draw(st.integers(1, 700)), draw(st.integers(1, 16)))
    dtype = draw(st.sampled_from(BANK_DTYPES))
    factor = draw(st.sampled_from([2, 4]))
    bank = noise(shape, dtype)
    if draw(st.booleans(), label="columns of a wider bank"):
        bank = torch.cat([bank, bank], dim=2)[:, :, : shape[2]]
    if draw(st.booleans(), label="every other channel"):
        bank = torch.stack([bank, bank], dim=4).flatten(3)[..., ::2]

    actual = ops.downsize(bank.to(device), factor)

    planes = bank.permute(0, 3, 1, 2).double()
    expected = torch.nn.functional.avg_pool2d(planes, factor, ceil_mode=True, count_include_pad=False)
    expected = expected.permute(0, 2, 3, 1)
    assert actual.dtype == dtype
    assert actual.shape == expected.shape
    if dtype == torch.uint8:
        # Averages over 3 or 12 pixels are no binary fractions, so that a tie may fall either way.
        assert float((actual.cpu().double() - expected).abs().max()) <= 0.5 + 1e-5
    else:
        assert_close(actual, expected, dtype)


# --- encoding ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_normalize_and_denormalize_follow_the_definition(device, data):
    draw = data.draw
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 32)), draw(st.integers(1, 12)), draw(st.integers(1, 300)))
    dtype = draw(st.sampled_from(BANK_DTYPES))
    output = draw(st.sampled_from(OUTPUT_DTYPES))
    encoding = some_encoding(shape[1], log=draw(st.booleans(), label="log"))
    x = noise(shape, dtype)
    if draw(st.booleans(), label="channels last"):
        x = x.contiguous(memory_format=torch.channels_last)
    if draw(st.booleans(), label="part of a wider picture"):
        x = torch.cat([x, x], dim=3)[..., 1 : shape[3] + 1]

    actual = ops.normalize(x.to(device), encoding, output)
    back = ops.denormalize(x.to(device), encoding, output)

    last = values(x).permute(0, 2, 3, 1)
    assert actual.is_contiguous(memory_format=torch.channels_last)
    assert_close(actual.permute(0, 2, 3, 1), encoded(last, encoding), output)
    assert_close(back.permute(0, 2, 3, 1), decoded(last, encoding), output)


@settings(max_examples=60, deadline=None)
@given(
    exponents=st.lists(st.floats(-6, 4.8), min_size=1, max_size=50),
    scale=st.sampled_from([0.0, 0.5, 20.0, 1000.0]),
    negative=st.booleans(),
)
def test_decoding_gives_back_what_was_encoded(device, exponents, scale, negative):
    x = torch.tensor([10.0**e for e in exponents]).view(1, 1, 1, -1) * (-1 if negative else 1)
    encoding = Encoding((scale,), (0.0,), (1.0,))
    back = ops.denormalize(ops.normalize(x.to(device), encoding), encoding).cpu()
    torch.testing.assert_close(back, x, rtol=1e-5, atol=0)


# --- statistics -------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_statistics_are_those_of_the_valid_finite_pixels(device, data):
    draw = data.draw
    count, height, width, channels = (draw(st.integers(1, n)) for n in (3, 20, 300, 16))
    dtype = draw(st.sampled_from(BANK_DTYPES))
    bank = noise((count, height, width, channels), dtype)
    valid = torch.tensor(
        [
            [x, y, draw(st.integers(x + 1, width)), draw(st.integers(y + 1, height))]
            for x, y in [(draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))) for _ in range(count)]
        ],
        dtype=torch.int32,
    )
    if dtype != torch.uint8 and draw(st.booleans(), label="bad pixels"):
        bank.view(-1)[::7] = math.nan
        bank.view(-1)[3::11] = -math.inf

    actual = ops.statistics(bank.to(device), valid)

    pixels = torch.cat(
        [values(bank)[n, y0:y1, x0:x1].flatten(0, 1) for n, (x0, y0, x1, y1) in enumerate(valid.tolist())]
    )
    for c in range(channels):
        channel = pixels[:, c].double()
        finite = channel[channel.isfinite()]
        assert actual.non_finite[c] == len(channel) - len(finite)
        if len(finite) == 0:
            assert (actual.mean[c], actual.std[c], actual.minimum[c], actual.maximum[c]) == (0, 0, 0, 0)
            continue
        assert actual.mean[c] == pytest.approx(float(finite.mean()), abs=1e-6)
        assert actual.std[c] == pytest.approx(float(finite.std(correction=0)), rel=1e-5, abs=1e-7)
        assert actual.minimum[c] == pytest.approx(float(finite.min()), abs=1e-7)
        assert actual.maximum[c] == pytest.approx(float(finite.max()), abs=1e-7)


@pytest.mark.parametrize("size", [1.8e19, 1e20, 1e30, 3e38])
def test_statistics_of_huge_values_do_not_overflow(device, size):
    bank = (torch.rand((2, 30, 50, 3), generator=torch.Generator().manual_seed(2)) - 0.5) * 2 * size
    bank[..., 1] = size
    bank[..., 2] /= size
    bank[0, 3, 4, 2] = size
    true = bank.double().flatten(0, 2)
    actual = ops.statistics(bank.to(device), whole(2, 30, 50))
    np.testing.assert_allclose(actual.mean, true.mean(0), rtol=1e-6, atol=1e-6 * size)
    np.testing.assert_allclose(actual.std, true.std(0, unbiased=False), rtol=1e-6, atol=1e-6)
    assert actual.non_finite == (0, 0, 0)


def test_statistics_stay_precise_far_from_zero(device):
    # The naive formula loses everything here: the squares are 1e10 and their spread is 1.
    bank = 1e5 + torch.randn((3, 300, 400, 1), generator=torch.Generator().manual_seed(1))
    actual = ops.statistics(bank.to(device), whole(3, 300, 400))
    assert actual.mean[0] == pytest.approx(float(bank.double().mean()), rel=1e-9)
    assert actual.std[0] == pytest.approx(float(bank.double().std(correction=0)), rel=1e-5)
