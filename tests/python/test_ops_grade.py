"""Gain, contrast and saturation of crops against numpy in double precision, on every device."""

import numpy as np
import pytest
import torch
from copycat.ops import Encoding
from crop_calls import crop_positions, sample_crops
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import BANK_DTYPES, DEVICES, OUTPUT_DTYPES, ROUNDING, cut, noise, some_encoding, values, whole

REC_709 = np.array([0.2126, 0.7152, 0.0722])

pytestmark = pytest.mark.parametrize("device", DEVICES)


def philox(counter, key):
    """Philox-4x32-10 as its paper has it: Salmon, Moraes, Dror, Shaw, SC 2011."""
    a, b, c, d = counter
    low, high = key & 0xFFFFFFFF, key >> 32
    for _ in range(10):
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = right >> 32 ^ b ^ low, right & 0xFFFFFFFF, left >> 32 ^ d ^ high, left & 0xFFFFFFFF
        low, high = low + 0x9E3779B9 & 0xFFFFFFFF, high + 0xBB67AE85 & 0xFFFFFFFF
    return a, b, c, d


def drawn_grade(sample, step, seed, probabilities):
    """Gain, contrast and saturation of a sample."""
    step_words = (step & 0xFFFFFFFF, step >> 32)
    chances, shares = (np.array(philox((sample, stream, *step_words), seed)[:3]) / 2**32 for stream in (2, 3))
    return np.where(chances < probabilities, 2 ** (2 * shares - 1), 1.0)


def graded(pixels, grade, layers, encoding):
    """[..., C] in double precision, as the definition says it."""
    gain, contrast, saturation = grade
    graded_pixels = pixels.astype(np.float64)
    for layer in layers:
        at = list(layer)
        pivot = np.where(np.array(encoding.log_scale)[at] > 0, 0.18, 0.5)
        colour = (graded_pixels[..., at] * gain - pivot) * contrast + pivot
        grey = (colour * REC_709).sum(-1, keepdims=True)
        graded_pixels[..., at] = grey + saturation * (colour - grey)
    return graded_pixels


def encoded(pixels, encoding):
    scale, mean, std = (np.array(numbers) for numbers in (encoding.log_scale, encoding.mean, encoding.std))
    return (np.where(scale > 0, np.sign(pixels) * np.log1p(scale * np.abs(pixels)), pixels) - mean) / std


def steepest(encoding):
    """How much an encoding can enlarge a rounding error of the values before it."""
    return max(max(scale, 1) / std for scale, std in zip(encoding.log_scale, encoding.std, strict=True))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_layers_are_graded_before_they_are_encoded_and_input_and_target_alike(device, data):
    draw = data.draw
    channels = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)), label="channels")
    orders = [draw(st.permutations(range(c))) for c in channels]
    layers = [
        [tuple(order[3 * i : 3 * i + 3]) for i in range(draw(st.integers(0, len(order) // 3), label="layers"))]
        for order in orders
    ]
    dtypes = draw(st.tuples(*[st.sampled_from(BANK_DTYPES)] * 3), label="dtypes")
    output = draw(st.sampled_from(OUTPUT_DTYPES), label="output")
    crop = draw(st.tuples(st.integers(1, 24), st.integers(1, 120)), label="crop")
    turn = draw(st.sampled_from([0.0, 0.7]), label="turn")
    height = width = max(crop) + draw(st.integers(0, 9))
    count, batch = draw(st.integers(1, 4), label="frames"), draw(st.integers(1, 5), label="batch")
    banks = [
        noise((count, height, width, c), d, n) for n, (c, d) in enumerate(zip((*channels, 1), dtypes, strict=True))
    ]
    if draw(st.booleans(), label="planar bank"):
        banks[0] = banks[0].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    mask = banks[2] if draw(st.booleans(), label="mask") else None
    encodings = [some_encoding(c, log=draw(st.booleans(), label="log")) for c in channels]
    step, seed = draw(st.integers(0, 2**40), label="step"), draw(st.integers(0, 2**64 - 1), label="seed")
    probabilities = draw(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0])] * 3), label="probabilities")
    geometry = {
        "crop": crop,
        "batch": batch,
        "step": step,
        "seed": seed,
        "valid": whole(count, height, width),
        "turn": turn,
        "flip": 0.5,
        "flop": 0.5,
    }

    actual = sample_crops(
        banks[0].to(device),
        banks[1].to(device),
        mask_bank=None if mask is None else mask.to(device),
        input_encoding=encodings[0],
        target_encoding=encodings[1],
        input_layers=layers[0],
        target_layers=layers[1],
        dtype=output,
        **dict(zip(("gain", "contrast", "saturation"), probabilities, strict=True)),
        **geometry,
    )

    grades = [drawn_grade(sample, step, seed, probabilities) for sample in range(batch)]
    positions = crop_positions((height, width), **geometry).tolist()
    for bank, encoding, colours, result in zip(
        banks, [*encodings, Encoding.identity(1)], [*layers, []], actual, strict=True
    ):
        if result is None:
            continue
        for crop_actual, position, grade in zip(result, positions, grades, strict=True):
            pixels = cut(values(bank), position, crop).permute(1, 2, 0).numpy()
            expected = torch.from_numpy(encoded(graded(pixels, grade, colours, encoding), encoding)).permute(2, 0, 1)
            rounding = 1e-6 * steepest(encoding) if colours else 0  # of values up to 8
            torch.testing.assert_close(
                crop_actual.cpu().double(), expected, rtol=ROUNDING[output], atol=ROUNDING[output] + rounding
            )


def test_chances_are_kept_and_factors_spread_evenly_over_their_logarithm(device):
    # Gain alone leaves 1 times the gain; a contrast turns about 0.5; grey keeps its saturation.
    bank = torch.ones((1, 8, 8, 3), device=device)
    same = {
        "crop": (1, 1),
        "batch": 4000,
        "step": 0,
        "seed": 5,
        "valid": whole(1, 8, 8),
        "input_encoding": Encoding.identity(3),
        "target_encoding": Encoding.identity(3),
        "input_layers": [(0, 1, 2)],
    }
    for name, back in (("gain", lambda x: x), ("contrast", lambda x: 2 * x - 1)):
        source, target, _ = sample_crops(bank, bank, **same, **{name: 0.3})
        factors = back(source[:, 0, 0, 0].cpu().double())
        changed = factors[factors != 1].log2()
        assert len(changed) / 4000 == pytest.approx(0.3, abs=0.03)
        assert changed.min() >= -1
        assert changed.max() <= 1
        # 8 cells of 150: chi squared with 7 degrees of freedom stays below 24 with probability 0.999.
        cells = torch.histc(changed, 8, -1, 1)
        assert float(((cells - len(changed) / 8) ** 2 / (len(changed) / 8)).sum()) < 24
        assert torch.equal(target.cpu(), torch.ones_like(target.cpu()))  # a matte
    grey = sample_crops(bank, bank, **same, saturation=1.0)[0]
    torch.testing.assert_close(grey.cpu(), torch.ones_like(grey.cpu()))


def test_a_crop_that_is_not_graded_keeps_its_bits(device):
    bank = noise((3, 30, 40, 3), torch.float16).to(device)
    same = {
        "crop": (16, 24),
        "batch": 64,
        "step": 7,
        "seed": 1,
        "valid": whole(3, 30, 40),
        "input_encoding": some_encoding(3),
        "target_encoding": some_encoding(3),
    }
    plain = sample_crops(bank, bank, **same)[0]
    some = sample_crops(bank, bank, **same, input_layers=[(0, 1, 2)], saturation=0.5)[0]
    kept = [torch.equal(a, b) for a, b in zip(plain, some, strict=True)]
    chances = [drawn_grade(sample, 7, 1, (0, 0, 0.5))[2] == 1 for sample in range(64)]
    assert kept == chances
    assert 16 < sum(kept) < 48
    assert torch.equal(sample_crops(bank, bank, **same, gain=1.0)[0], plain)  # no colour is named
