"""What the suite ``quantization`` promises of each model, and of all of them together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import NormalDist

from benchmarks.measure import Spread
from benchmarks.quantization_contenders import DEFAULT, PAIRS, SHIPPED, is_ours
from benchmarks.suite import Goal, at_least, at_most, unmeasured

KEPT, FAST, AP50, SHARE, PUBLIC_FAST, LARGER = 0.99, 1.8, 0.97, 0.8, 1.3, 1.05
HALF = 0.5  # of the multiplications: a model with fewer in integers is not a quantized one
UNLUCKY = "at least minus what chance does"
CHANCE = 0.05  # that a difference, which is none, counts against us


@dataclass(frozen=True)
class Measured:
    """A quantized model's figures."""

    name: str
    score: float
    speed: Spread  # over FP32
    seconds: float  # that making it took
    kilobytes: float
    share: float  # of the multiply-accumulates, in integers


@dataclass(frozen=True)
class Found:
    """Everything about one model."""

    model: str
    metric_name: str
    real: float  # FP32's score
    measured: Mapping[str, Measured]  # by contender
    failed: Mapping[str, str] = field(default_factory=dict)  # contender: reason
    chance: float = 0.0  # standard error of champion's score less the best peer's

    @property
    def champion(self) -> Measured | None:
        """Ours, as a user gets it: the shipped model, or what the command does by default."""
        for name in (SHIPPED, DEFAULT, "careful"):
            if name in self.measured:
                return self.measured[name]
        return None

    @property
    def peers(self) -> list[Measured]:
        """The peers' models that are quantized, not just labelled so."""
        return [m for m in self.measured.values() if not is_ours(m.name) and m.share >= HALF]

    @property
    def best_peer(self) -> Measured | None:
        """The peer with the best score."""
        return max(self.peers, key=lambda one: one.score, default=None)


def promises(model: str) -> dict[str, str]:
    """The goals of one model: name and what is wanted, before anything is measured."""
    names = {f"score above the best INT8 peer's, {model}": UNLUCKY}
    if model.startswith("zoo:street"):
        names |= {f"share of FP32's mAP kept, {model}": f"at least {KEPT:g}",
                  f"speed over FP32, {model}": f"at least {FAST:g}"}
    if model == "yolox-nano":
        names |= {f"AP50 against FP32's boxes, {model}": f"at least {AP50:g}",
                  f"share of multiplications in INT8, {model}": f"at least {SHARE:g}",
                  f"speed over FP32, {model}": f"at least {PUBLIC_FAST:g}"}
    return names


def goals(found: Found) -> list[Goal]:
    """The goals of one model, measured; in the order of :func:`promises`."""
    names = promises(found.model)
    ours = found.champion
    if ours is None:
        return [unmeasured(name, goal, "ours is absent") for name, goal in names.items()]
    made = [against_peers(found, ours)]
    if found.model.startswith("zoo:street"):
        made += [at_least("", ours.score / found.real, KEPT), fast_as_peers(found, ours)]
    if found.model == "yolox-nano":
        made += [at_least("", ours.score, AP50), at_least("", ours.share, SHARE),
                 at_least("", ours.speed.median, PUBLIC_FAST)]
        made[-1] = replace(made[-1], note=f"ours {ours.speed}; {fastest(found)}")
    return [replace(goal, name=name) for goal, name in zip(made, names, strict=True)]


def against_peers(found: Found, ours: Measured) -> Goal:
    """Never less accurate than the best peer, but for what chance does."""
    peer = found.best_peer
    if peer is None:
        return unmeasured("", UNLUCKY, "no peer could quantize it")
    goal = at_least("", ours.score - peer.score, round(-unlucky(found), 5) + 0.0)
    note = (f"{ours.name} {ours.score:.4f}, {peer.name} {peer.score:.4f}; standard error of the "
            f"difference {found.chance:.4f}")
    return replace(goal, note=note)


def unlucky(found: Found) -> float:
    """How far an equally good model may lie behind the best of all peers by chance.

    The best one was picked after the scores were seen: each comparison gets its part of CHANCE
    (Bonferroni's correction), in a normal distribution's tail.
    """
    return NormalDist().inv_cdf(1 - CHANCE / max(1, len(found.peers))) * found.chance


def fast_as_peers(found: Found, ours: Measured) -> Goal:
    """Some speed where any peer reaches it on this model; else the fastest peer's."""
    best = max((one.speed.median for one in found.peers), default=0.0)
    bound = FAST if best >= FAST else best
    return replace(at_least("", ours.speed.median, round(bound, 3)),
                   note=f"ours {ours.speed}; {fastest(found)}")


def fastest(found: Found) -> str:
    """The fastest peer, in words."""
    peer = max(found.peers, key=lambda one: one.speed.median, default=None)
    return "no peer" if peer is None else f"fastest peer: {peer.name} {peer.speed}"


def goals_of_all(found: Sequence[Found]) -> list[Goal]:
    """Time and size beside the peer that does the same, on the model where ours does worst."""
    made = []
    for ours, theirs in PAIRS.items():
        name = f"time to quantize, {ours} / {theirs}, worst model"
        made.append(_worst(found, name, ours, theirs, lambda one: one.seconds, 1.0))
    name = f"file size, {DEFAULT} / smallest static peer's, worst model"
    made.append(_worst(found, name, DEFAULT, "static", lambda one: one.kilobytes, LARGER))
    return made


def _worst(
    found: Sequence[Found], name: str, ours: str, theirs: str,
    figure: Callable[[Measured], float], bound: float,
) -> Goal:
    ratios = {}
    for one in found:
        own = one.measured.get(ours) or (one.champion if theirs == "static" else None)
        peers = [m for m in one.peers if m.name != "ORT dynamic"] if theirs == "static" else (
            [one.measured[theirs]] if theirs in one.measured else [])
        if own is not None and peers:
            ratios[one.model] = figure(own) / min(figure(peer) for peer in peers)
    if not ratios:
        return unmeasured(name, f"at most {bound:g}", "no model has both")
    model = max(ratios, key=lambda key: ratios[key])
    middle = Spread.of(list(ratios.values()))
    return replace(at_most(name, ratios[model], bound),
                   note=f"{model}; median of {len(ratios)} models {middle}")
