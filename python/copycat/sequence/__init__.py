"""Image sequences and movies: patterns and frame ranges, and reading and writing frames through OpenImageIO.

Frames are numpy arrays ``[H, W, C]`` in the size of the display window (on request with its overscan), origin top-left,
with the values that the file holds: no colour is converted. Integer formats become 0..1.
"""

from copycat.sequence.channels import colour_layers, resolve_channels
from copycat.sequence.error import SequenceError
from copycat.sequence.info import FrameInfo, Part, describe_size, read_info
from copycat.sequence.pattern import ImageSequence, format_frames, missing_frames, parse_frames
from copycat.sequence.reading import Frame, read_frame
from copycat.sequence.stream import Writer, read_frames_parallel
from copycat.sequence.writing import check_writable, remove_leftovers, write_frame

__all__ = [
    "Frame",
    "FrameInfo",
    "ImageSequence",
    "Part",
    "SequenceError",
    "Writer",
    "check_writable",
    "colour_layers",
    "describe_size",
    "format_frames",
    "missing_frames",
    "parse_frames",
    "read_frame",
    "read_frames_parallel",
    "read_info",
    "remove_leftovers",
    "resolve_channels",
    "write_frame",
]
