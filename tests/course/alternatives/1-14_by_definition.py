"""The memory of each operation summed up from scratch."""


def lifetimes(operations, results=()):
    first, last = {}, {}
    for position, operation in enumerate(operations):
        for name in operation.reads:
            first.setdefault(name, 0)
            last[name] = position
        for name in operation.writes:
            first.setdefault(name, position)
            last[name] = position
    for name in results:
        if name in last:
            last[name] = len(operations) - 1
    return {name: Lifetime(first[name], last[name]) for name in first}


def activation_peak(operations, sizes, results=()):
    lives = {n: life for n, life in lifetimes(operations, results).items() if sizes.get(n)}
    rows = [[n for n, life in lives.items() if life.first <= step <= life.last]
            for step in range(len(operations))]
    weights = [sum(sizes[n] for n in row) for row in rows]
    best = max(range(len(weights)), key=lambda step: weights[step], default=None)
    total = sum(sizes[n] for n in lives)
    if best is None:
        return ActivationPeak(0, "", (), total)
    return ActivationPeak(weights[best], operations[best].name, tuple(rows[best]), total)
