"""Checks of 1.8: the device."""

import string

from course.scenario import attempt, scenario
from solutions.phase1_basics.machine_facts import Gpu, MachineFacts

GIB = 1 << 30
ARCHES = ("sm_80", "sm_86", "sm_90", "compute_90")


def chosen(impl, wanted, facts, model_bytes=0):
    """The device, or the refusal; the reason's wording is free, but there must be one."""
    def choose():
        found = impl.choose_device(wanted, facts, model_bytes)
        return {"device": found.device, "reason given": bool(found.reason.strip())}

    return attempt(choose)


def machines(rng):
    """Machines with GPUs of all kinds."""
    free = [int(n) * GIB for n in rng.permutation([4, 11, 23])]
    return {
        "none": MachineFacts(),
        "mac": MachineFacts(mps=True),
        "three": MachineFacts(gpus=tuple(Gpu("A", (8, 0), 40 * GIB - n, n) for n in free),
                              torch_arches=ARCHES),
        "equal": MachineFacts(gpus=(Gpu("A", (8, 0), 9 * GIB, 8 * GIB),) * 2, torch_arches=ARCHES),
        "old": MachineFacts(gpus=(Gpu("K", (3, 5), 64 * GIB, 63 * GIB),
                                  Gpu("A", (8, 6), 8 * GIB, 7 * GIB)), torch_arches=ARCHES),
        "only old": MachineFacts(gpus=(Gpu("K", (3, 5), 9 * GIB, 9 * GIB),), torch_arches=ARCHES),
        "old beside mps": MachineFacts(gpus=(Gpu("K", (3, 5), 9 * GIB, 9 * GIB),), mps=True,
                                       torch_arches=ARCHES),
        "full": MachineFacts(gpus=(Gpu("A", (9, 0), 80 * GIB, GIB // 4),), torch_arches=ARCHES),
    }


@scenario("1.8", seeds=4)
def by_itself(impl, rng):
    """auto on machines with good, old, full and no GPUs, for small and large models."""
    large = int(rng.integers(12, 22)) * GIB
    return {name: {"small": chosen(impl, "auto", facts),
                   "large": chosen(impl, "auto", facts, large),
                   "to the byte": chosen(impl, "auto", facts, 7 * GIB - (512 << 20))}
            for name, facts in machines(rng).items()}


@scenario("1.8", seeds=3)
def by_name(impl, rng):
    """Devices by name: the one that is meant, or a refusal."""
    words = ["cpu", "cuda", "cuda:0", "cuda:1", "cuda:2", "cuda:7", "cuda:-1", "cuda:", "mps",
             "CUDA", "gpu", "", "cuda:0 ", "cpu:0",
             "".join(rng.choice(list(string.ascii_lowercase), 5))]
    return {name: {word: chosen(impl, word, facts, 60 * GIB) for word in words}
            for name, facts in machines(rng).items()}
