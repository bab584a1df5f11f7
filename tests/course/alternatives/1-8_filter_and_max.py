"""Filtering and max instead of sorting."""


def choose_device(wanted, facts, model_bytes=0):
    gpus = list(enumerate(facts.gpus))
    if wanted == "auto":
        fit = [(n, g) for n, g in gpus
               if runs_on(g, facts.torch_arches) and g.free >= model_bytes + KEEP_FREE]
        if fit:
            number = max(fit, key=lambda pair: pair[1].free)[0]
            return ChosenDevice(f"cuda:{number}", "most free memory")
        if not gpus and facts.mps:
            return ChosenDevice("mps", "no NVIDIA GPU")
        return ChosenDevice("cpu", "nothing better")
    if wanted == "cpu" or (wanted == "mps" and facts.mps):
        return ChosenDevice(wanted, "named")
    kind, colon, digits = wanted.partition(":")
    if kind == "cuda" and (not colon or (digits.isascii() and digits.isdigit())):
        number = int(digits or 0)
        if number < len(gpus) and runs_on(facts.gpus[number], facts.torch_arches):
            return ChosenDevice(f"cuda:{number}", "named")
    raise InferenceError(f"no device {wanted}")
