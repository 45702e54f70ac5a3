"""What the operators refuse, how they sit in torch's graph compiler, and the plain data around them."""

import pytest
import torch
from copycat import ops
from copycat.ops import Encoding
from crop_calls import sample_crops

IDENTITY = Encoding.identity(3)


def bank(shape=(2, 20, 30, 3), dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype)


def crop_arguments(**changes):
    arguments = {
        "input_bank": bank(),
        "target_bank": bank(),
        "crop": (8, 10),
        "batch": 2,
        "step": 0,
        "seed": 0,
        "input_encoding": IDENTITY,
        "target_encoding": IDENTITY,
        "valid": torch.tensor([[0, 0, 30, 20]] * 2, dtype=torch.int32),
    }
    return arguments | changes


def sample(**changes):
    arguments = crop_arguments(**changes)
    return sample_crops(arguments.pop("input_bank"), arguments.pop("target_bank"), **arguments)


def rectangles(*rows):
    return torch.tensor(rows, dtype=torch.int32)


ONE_CENTRE = torch.zeros((1, 2), dtype=torch.int32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop": (21, 10)}, "crop of 10 x 21 does not fit into frames of 30 x 20"),
        ({"crop": (8, 25), "turn": 0.1}, r"crop of 25 x 8 \(turned as well\) does not fit"),
        ({"crop": (0, 10)}, "crop must be at least 1 x 1, not 10 x 0"),
        (
            {"valid": rectangles([0, 0, 30, 20], [5, 0, 14, 20])},
            r"\[5, 0, 14, 20\] of frame 1, which is smaller than a",
        ),
        ({"valid": rectangles([0, 0, 30, 20], [0, 0, 31, 20])}, r"\[0, 0, 31, 20\] of frame 1, which is not inside 30"),
        ({"valid": rectangles([0, 0, 30, 20])}, r"valid must have the shape \[2, 4\], not \[1, 4\]"),
        ({"valid": rectangles([0, 0, 30, 20], [0, 0, 30, 20]).long()}, "valid must be int32, not int64"),
        ({"step": -1}, "step must not be negative, but is -1"),
        ({"step": torch.tensor(-3)}, "step must not be negative, but is -3"),
        ({"step": torch.tensor(3, dtype=torch.int32)}, "step must be int64, not int32"),
        ({"step": torch.tensor([3])}, r"step must have the shape \[\], not \[1\]"),
        ({"seed": -1}, r"seed must be 0 to 2\^64 - 1, not -1"),
        ({"seed": 2**64}, "seed must be 0 to"),
        ({"flip": 1.5}, "flip must be 0 to 1, not 1.5"),
        ({"flop": -0.5}, "flop must be 0 to 1, not -0.5"),
        ({"turn": float("nan")}, "turn must be 0 to 1, not nan"),
        ({"centre_share": 2.0}, "centre_share must be 0 to 1, not 2"),
        ({"gain": 1.5}, "gain must be 0 to 1, not 1.5"),
        ({"contrast": -1.0}, "contrast must be 0 to 1, not -1"),
        ({"saturation": float("inf")}, "saturation must be 0 to 1, not inf"),
        ({"input_layers": [(0, 1, 3)]}, "input_layers has the channel 3 of 3"),
        ({"input_layers": [(0, 1, -1)]}, "input_layers has the channel -1 of 3"),
        ({"target_layers": [(0, 1, 1)]}, "target_layers has the channel 1 twice"),
        (
            {"target_layers": [(0, 1, 2), (0, 1, 2)]},
            "target_layers must be the red, green and blue of layers within 3 channels, not 6 numbers",
        ),
        ({"crops_per_pair": 0}, "crops_per_pair must be at least 1, not 0"),
        ({"batch": 0}, r"must be at least 1, not 0"),
        ({"first_sample": 1, "total_samples": 2}, "total_samples is 2, but samples 1 to 2 are requested"),
        ({"first_sample": -1, "total_samples": 9}, "total_samples is 9, but samples -1 to 0"),
        (
            {"target_bank": bank((2, 20, 31, 3))},
            r"target_bank has the shape \[2, 20, 31, 3\], but the input has 2 frames",
        ),
        ({"input_bank": bank((20, 30, 3))}, r"input_bank must have 4 dimensions, but its shape is \[20, 30, 3\]"),
        (
            {"input_bank": bank(dtype=torch.float64)},
            "input_bank must be float32, float16, bfloat16 or uint8, not float64",
        ),
        ({"input_bank": bank(dtype=torch.complex64)}, "input_bank has a dtype that the kernels do not know"),
        ({"input_bank": bank((2, 20, 30, 33))}, "input_bank must have 1 to 32 channels, not 33"),
        ({"input_encoding": Encoding.identity(4)}, "input_encoding must have 3 channels like its pixels, not 4"),
        ({"target_encoding": Encoding((0,) * 3, (0,) * 3, (1, 1, 0))}, "target_encoding has the std 0.0+ of channel 2"),
        ({"input_encoding": Encoding((0, -1, 0), (0,) * 3, (1,) * 3)}, "log_scale -1.0+ of channel 1"),
        ({"input_encoding": Encoding((0,) * 3, (float("nan"),) * 3, (1,) * 3)}, "has the mean nan of channel 0"),
        ({"mask_bank": bank((2, 20, 30, 2))}, r"mask_out must have the shape|mask_bank must have 1 channel, not 2"),
        ({"dtype": torch.uint8}, "input_out must be float32, float16 or bfloat16, not uint8"),
        ({"centres": ONE_CENTRE}, "centre_offsets is missing, but its counterpart is given"),
        ({"centre_offsets": torch.zeros(3, dtype=torch.int32)}, "centres is missing"),
        (
            {"centres": ONE_CENTRE, "centre_offsets": torch.tensor([0, 2, 1], dtype=torch.int32)},
            "centre_offsets must rise from 0 to the number of centres, 1",
        ),
        (
            {"centres": ONE_CENTRE, "centre_offsets": torch.tensor([0, 1], dtype=torch.int32)},
            r"centre_offsets must have the shape \[3\], not \[2\]",
        ),
        (
            {"centres": torch.zeros((1, 3), dtype=torch.int32), "centre_offsets": torch.zeros(3, dtype=torch.int32)},
            "centres",
        ),
    ],
)
def test_sample_crops_names_what_is_wrong(changes, message):
    with pytest.raises(ValueError, match=message):
        sample(**changes)


def test_buffers_of_another_size_are_refused():
    out = sample()
    with pytest.raises(ValueError, match=r"input_out must have the shape \[2, 9, 10, 3\]"):
        sample(crop=(9, 10), out=out)
    with pytest.raises(ValueError, match="target_out has another batch"):
        sample(out=(out[0], torch.zeros(3, 3, 8, 10).contiguous(memory_format=torch.channels_last), None))
    with pytest.raises(ValueError, match="input_out must be without gaps"):
        sample(out=(out[0].contiguous(), out[1], None))
    with pytest.raises(ValueError, match="mask_bank and the mask's output belong together"):
        sample(out=out, mask_bank=bank((2, 20, 30, 1)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.downsize(bank(), 3), "factor must be 2 or 4, not 3"),
        (lambda: ops.downsize(bank((20, 30, 3)), 2), "bank must have 4 dimensions"),
        (
            lambda: ops.downsize(bank(dtype=torch.int32), 2),
            "bank must be float32, float16, bfloat16 or uint8, not int32",
        ),
        (lambda: ops.downsize(bank((0, 20, 30, 3)), 2), r"bank must hold pixels, but its shape is \[0, 20, 30, 3\]"),
        (lambda: ops.normalize(bank((3, 20, 30)), IDENTITY), "x must have 4 dimensions"),
        (lambda: ops.normalize(bank((1, 4, 5, 5)), IDENTITY), "encoding must have 4 channels like its pixels, not 3"),
        (lambda: ops.normalize(bank((1, 3, 5, 5)), IDENTITY, torch.uint8), "out must be float32, float16 or bfloat16"),
        (lambda: ops.denormalize(bank((1, 3, 5, 5)), IDENTITY, torch.float64), "out must be float32"),
        (lambda: ops.statistics(bank(), rectangles([0, 0, 30, 20], [4, 4, 4, 9])), r"\[4, 4, 4, 9\] of frame 1"),
        (lambda: ops.statistics(bank((20, 30, 3)), rectangles([0, 0, 30, 20])), "bank must have 4 dimensions"),
        (
            lambda: ops.check_crop(rectangles([0, 0, 9, 9], [0, 0, 9, 4]), (5, 4)),
            "does not fit into the 9 x 4 valid pix",
        ),
        (lambda: ops.check_crop(rectangles([0, 0, 9, 4]), (4, 5), turn=0.1), "crop of 5 x 5 does not fit"),
    ],
)
def test_the_other_operators_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_crop_that_fits_passes_the_check():
    ops.check_crop(rectangles([2, 2, 9, 9]), (7, 7), turn=1.0)


def test_encodings_travel_as_plain_lists():
    encoding = Encoding((0.0, 20.0), (0.5, 1.5), (1.0, 2.0), (True, False))
    assert Encoding.from_dict(encoding.to_dict()) == encoding
    assert encoding.to_dict() == {
        "log_scale": [0.0, 20.0],
        "mean": [0.5, 1.5],
        "std": [1.0, 2.0],
        "matte": [True, False],
    }
    older = {name: values for name, values in encoding.to_dict().items() if name != "matte"}
    assert Encoding.from_dict(older) == Encoding((0.0, 20.0), (0.5, 1.5), (1.0, 2.0))
    assert encoding.select([1]) == Encoding((20.0,), (1.5,), (2.0,), (False,))
    with pytest.raises(KeyError):
        Encoding.from_dict({"log_scale": [0.0]})


def operator_calls():
    """The registered operators with arguments they take."""
    valid = rectangles([0, 0, 30, 20], [0, 0, 30, 20])
    last = torch.zeros(2, 3, 8, 10).contiguous(memory_format=torch.channels_last)
    numbers = IDENTITY.numbers()
    rule = ([8, 10], valid, None, None, 3, None, 1, [0.0, 0.5, 0.5, 0.0, 0.5, 0.5, 0.5], [1, 0, 2])
    return {
        "sample_crops": (bank(), bank(), None, last, last.clone(), None, numbers, numbers, [0, 1, 2], [], *rule),
        "crop_positions": (torch.zeros((2, 5), dtype=torch.int32), [20, 30], *rule),
        "downsize": (bank(), 2),
        "recode": (torch.zeros(1, 3, 5, 6), numbers, False, torch.bfloat16),
        "decode_into": (torch.zeros(1, 3, 5, 6), numbers, 0b101, torch.zeros(1, 4, 5, 6)[:, :3]),
        "statistics": (bank(), valid),
    }


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (torch.zeros(1, 3, 5, 6).half(), "out must be float32, not float16"),
        (torch.zeros(1, 3, 5, 7), r"out must have the shape \[1, 5, 6, 3\], not \[1, 5, 7, 3\]"),
        (torch.zeros(3, 5, 6), r"out must have 4 dimensions, but its shape is \[3, 5, 6\]"),
    ],
)
def test_a_result_that_does_not_fit_is_refused(out, message):
    with pytest.raises(ValueError, match=message):
        ops.denormalize_into(torch.zeros(1, 3, 5, 6), IDENTITY, out)


@pytest.mark.parametrize("name", list(operator_calls()))
def test_torch_finds_the_operators_well_registered(name):
    operator = getattr(torch.ops.copycat, name).default
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    assert set(torch.library.opcheck(operator, operator_calls()[name], test_utils=checks).values()) == {"SUCCESS"}


def test_a_compiled_step_is_one_graph_and_gives_the_same():
    torch.manual_seed(0)
    pictures = torch.rand(2, 20, 30, 3)
    rule = ops.CropRule(crop=(8, 10), seed=0, valid=rectangles((0, 0, 30, 20), (0, 0, 30, 20)), flip=0.5)

    def step(pictures, number):
        encodings = {"input_encoding": IDENTITY, "target_encoding": IDENTITY}
        source, target, _ = ops.sample_crops(pictures, pictures.half(), rule, step=number, batch=2, **encodings)
        half = ops.downsize(source.permute(0, 2, 3, 1), 2)
        return ops.denormalize(ops.normalize(source, IDENTITY), IDENTITY) + target, half

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for number in (4, torch.tensor(5)):
        for actual, expected in zip(compiled(pictures, number), step(pictures, number), strict=True):
            assert torch.equal(actual, expected)
