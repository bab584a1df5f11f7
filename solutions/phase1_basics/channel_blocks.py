"""Models compiled for processors that compute a certain number of channels at a time.

A graph compiler may write a network's weights in blocks of as many channels as the processor's
registers hold (16 with AVX-512, 8 with AVX2) and use ONNX Runtime's kernels for that layout. On
a processor with other registers these kernels read other places and compute nonsense without any
error. So such a model carries its block size in its metadata, and who loads it compares.
"""

import functools
from collections.abc import Mapping

import numpy as np

from zoo.errors import InferenceError

METADATA = "nchwc_block_size"
# One operator, com.microsoft.nchwc.ReorderInput, on floats x [1, 4, 1, 1], in the wire format.
PROBE = bytes.fromhex(
    "08083a560a290a0178120179220c52656f72646572496e7075743a13636f6d2e6d6963726f736f66742e6e6368776312"
    "01675a1b0a017812160a14080112100a0208010a0208040a0208010a02080162090a017912040a02080142040a00100d"
    "42170a13636f6d2e6d6963726f736f66742e6e636877631001"
)
CHANNELS = 4  # of the probe's input


@functools.cache
def runtime_block_size() -> int:
    """How many channels ONNX Runtime computes at a time here; 1 where it knows no blocks.

    It is asked, not guessed from the processor: it fills four channels up to a block.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(PROBE, options, providers=["CPUExecutionProvider"])
        (filled,) = session.run(None, {"x": np.zeros((1, CHANNELS, 1, 1), np.float32)})
    except Exception:  # the runtime's own: it has no such operator here
        return 1
    return int(filled.shape[1]) if filled.shape[1] > CHANNELS else 1


def check_channel_blocks(metadata: Mapping[str, str], here: int | None = None) -> None:
    """Refuse a model whose weights are blocked for another processor.

    ``metadata`` is the model's own; ``here`` is this processor's block size, asked for if not
    given. Raises InferenceError.
    """
    if METADATA not in metadata:
        return
    wanted, present = metadata[METADATA], runtime_block_size() if here is None else here
    if wanted != str(present):
        raise InferenceError(
            f"the model was compiled for processors that compute {wanted} channels at a time; "
            f"ONNX Runtime computes {present} on this one: compile it anew here"
        )
