"""The ceilings of a CUDA device, measured with torch."""

import time

from solutions.phase1_basics.roofline import Ceilings, best_rate

SIZE = 4096
COPY_BYTES = 512 * 2**20


def measure_gpu_ceilings(device: str, repeats: int = 10) -> Ceilings:
    """The best float32 matrix product (as torch is set up: TF32 only where it is allowed) and
    device copy, each synchronised."""
    import torch

    matrix = torch.rand(SIZE, SIZE, device=device)
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def multiply() -> None:
        torch.mm(matrix, matrix)
        torch.cuda.synchronize(device)

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize(device)

    multiply()
    copy()
    peak = best_rate(2.0 * SIZE**3, multiply, repeats, time.perf_counter)
    bandwidth = best_rate(2.0 * COPY_BYTES, copy, repeats, time.perf_counter)
    return Ceilings(peak, bandwidth, f"torch product and copy on {device}")
