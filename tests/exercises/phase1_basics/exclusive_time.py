"""Checks of 1.13: own time of layers."""

from course.scenario import scenario


def tree(rng, impl, start, end, depth, names, spans):
    """Nested spans: every one within the one that called it, with gaps between."""
    spans.append(impl.Span(str(rng.choice(names)), start, end))
    if depth == 0:
        return
    cuts = sorted(rng.uniform(start, end, 2 * int(rng.integers(0, 4))).tolist())
    for low, high in zip(cuts[::2], cuts[1::2], strict=True):
        tree(rng, impl, low, high, depth - 1, names, spans)


@scenario("1.13", seeds=6, relative=1e-9, absolute=1e-9)
def nested_layers(impl, rng):
    """Layers within layers, several visits to each, in any order of the spans."""
    spans = []
    for visit in range(int(rng.integers(1, 4))):
        tree(rng, impl, visit * 10.0, visit * 10.0 + 9, 4, [f"layer {i}" for i in range(5)], spans)
    found = impl.exclusive_times([spans[i] for i in rng.permutation(len(spans))])
    return {name: float(seconds) for name, seconds in sorted(found.items())}


@scenario("1.13", seeds=3, relative=1e-9, absolute=1e-9)
def edges(impl, rng):
    """Layers that begin or end together, that follow without a gap, that call themselves; none."""
    t = float(rng.uniform(1, 5))
    span = impl.Span
    cases = {
        "none": [],
        "begin together": [span("inner", 0, t), span("outer", 0, 2 * t)],
        "end together": [span("outer", 0, 2 * t), span("inner", t, 2 * t)],
        "in a row": [span("a", 0, t), span("b", t, 2 * t), span("c", 2 * t, 3 * t)],
        "row within": [span("all", 0, 3 * t), span("a", 0, t), span("b", t, 3 * t)],
        "itself": [span("f", 0, 4 * t), span("f", t, 2 * t)],
        "no time": [span("a", 0, t), span("b", t / 2, t / 2)],
        "three deep": [span("a", 0, 9 * t), span("b", t, 8 * t), span("c", 2 * t, 3 * t)],
    }
    return {name: {k: float(v) for k, v in sorted(impl.exclusive_times(spans).items())}
            for name, spans in cases.items()}
