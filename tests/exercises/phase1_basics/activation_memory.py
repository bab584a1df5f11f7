"""Checks of 1.14: lifetimes and the peak."""

from course.scenario import scenario
from solutions.phase1_basics.layers import Operation


def random_network(rng):
    """Operations that read what is there (or inputs and weights) and write something new."""
    count = int(rng.integers(1, 14))
    known = ["input", "weight"]
    operations = []
    for step in range(count):
        reads = [str(n) for n in rng.choice(known, int(rng.integers(0, 4)))]
        writes = [f"t{step}"] + ([f"u{step}"] if rng.random() < 0.3 else [])
        operations.append(Operation(f"op{step}", tuple(reads), tuple(writes)))
        known += writes
    sizes = {name: int(rng.integers(1, 1000)) for name in known if name != "weight"}
    results = [str(n) for n in rng.choice(known[2:], min(2, len(known) - 2), replace=False)]
    return operations, sizes, results


def lives(found):
    """Lifetimes as plain data, by name."""
    return {name: [int(life.first), int(life.last)] for name, life in sorted(found.items())}


def peak(found):
    """A peak as plain data; the order of the living does not matter."""
    return {"peak": int(found.peak_bytes), "operation": found.operation,
            "living": sorted(found.living), "total": int(found.total_bytes)}


@scenario("1.14", seeds=8)
def random_networks(impl, rng):
    """Lifetimes and peaks of networks with branches, with and without results."""
    operations, sizes, results = random_network(rng)
    return {"lives": lives(impl.lifetimes(operations, results)),
            "without results": lives(impl.lifetimes(operations)),
            "peak": peak(impl.activation_peak(operations, sizes, results)),
            "peak without results": peak(impl.activation_peak(operations, sizes))}


@scenario("1.14", seeds=3)
def small_networks(impl, rng):
    """A chain, a skip connection, equal peaks, an unread output, unknown sizes, no operations."""
    a, b, c = (int(n) for n in rng.integers(1, 100, 3))
    chain = [Operation("one", ("x",), ("p",)), Operation("two", ("p",), ("q",)),
             Operation("three", ("q",), ("r",))]
    skip = [Operation("conv", ("x", "w"), ("p",)), Operation("relu", ("p",), ("q",)),
            Operation("add", ("q", "x"), ("r",))]
    unread = [Operation("split", ("x",), ("p", "spare")), Operation("next", ("p",), ("q",))]
    again = [Operation("one", (), ("p",)), Operation("two", ("p",), ("p",)),
             Operation("three", (), ("q",))]
    sizes = {"x": a, "p": b, "q": c, "r": a, "spare": b}
    return {
        "chain": peak(impl.activation_peak(chain, sizes, ("r",))),
        "skip": peak(impl.activation_peak(skip, sizes, ("r",))),
        "equal": peak(impl.activation_peak(chain, dict.fromkeys("xpqr", 7))),
        "unread": peak(impl.activation_peak(unread, sizes)),
        "unread lives": lives(impl.lifetimes(unread)),
        "written twice": lives(impl.lifetimes(again)),
        "no sizes": peak(impl.activation_peak(chain, {})),
        "unknown": peak(impl.activation_peak(chain, {"p": b})),
        "absent result": lives(impl.lifetimes(chain, ("nowhere",))),
        "none": peak(impl.activation_peak([], {})),
    }
