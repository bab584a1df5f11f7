"""PyTorch as it stands: every operator is called by Python, one after the other.

The reference: what the other formats compute is compared with this.
"""

from solutions.phase2_optimization.formats.compiled import Compiled, FormatOptions, Source
from solutions.phase2_optimization.formats.torch_runner import (
    require_torch,
    runner,
    weight_bytes,
)
from zoo.errors import InferenceError


def eager(source: Source, options: FormatOptions) -> Compiled:
    """The module itself."""
    require_torch(options.threads)
    module = source.need_module()
    return Compiled("eager", runner(module), 0.0, weight_bytes(module), "weights alone")


def eager_cuda(source: Source, options: FormatOptions) -> Compiled:
    """The module on the GPU; copies to and from it are part of every run."""
    torch = require_torch(options.threads)
    if not torch.cuda.is_available():
        raise InferenceError("no CUDA GPU here: python -m course doctor says what is missing")
    module = source.need_module().to("cuda")
    name = torch.cuda.get_device_name()
    return Compiled("eager-cuda", runner(module, "cuda"), 0.0, weight_bytes(module), name)
