"""Checks of 1.15: the roofline."""

from course.scenario import scenario
from solutions.phase1_basics.layers import Layer


@scenario("1.15", seeds=6, relative=1e-9)
def under_the_roof(impl, rng):
    """Layers on both sides of the ridge and on it; layers without a place."""
    ceilings = impl.Ceilings(float(rng.uniform(1e9, 1e12)), float(rng.uniform(1e9, 1e11)))
    moved = int(rng.integers(1000, 100000))
    on = impl.Ceilings(64e9, 8e9)

    def point(layer, roof=ceilings):
        found = impl.place(layer, roof)
        return None if found is None else {
            "name": found.name, "intensity": float(found.intensity),
            "achieved": float(found.achieved), "attainable": float(found.attainable),
            "bound": found.bound}

    seconds = float(rng.uniform(1e-5, 1e-3))
    return {
        "ridge": float(ceilings.ridge),
        "attainable": [float(ceilings.attainable(x * ceilings.ridge))
                       for x in (0.01, 0.9, 1.1, 50)],
        "low": point(Layer("relu", "Relu", seconds, moved // 8, moved)),
        "high": point(Layer("conv", "Conv", seconds, moved * 10**6, moved)),
        "on the ridge": point(Layer("edge", "Conv", seconds, 8000, 1000), on),
        "no arithmetic": point(Layer("reshape", "Reshape", seconds, 0, moved)),
        "no traffic": point(Layer("odd", "Constant", seconds, 100, 0)),
        "no time": point(Layer("gone", "Identity", 0.0, 100, 100)),
    }
