"""The same rules in one function, calls before imports' messages."""


def check_pickle(data, where, rule_of=state_dict_rule, allows_state=is_harmless_state, start=0):
    try:
        trace = trace_pickle(data, start)
    except InferenceError as error:
        raise InferenceError(where + ": " + str(error)) from None
    bad = [g for g in trace.globals if rule_of(g) is None]
    if bad:
        raise UnsafeModelError(f"{where}: {bad[0]} at byte {bad[0].position}")
    for call in trace.calls:
        fine = False
        if call.opcode == "BUILD":
            fine = bool(allows_state(call.function, call.arguments))
        elif type(call.function) is Global and call.opcode in {"REDUCE", "OBJ", "NEWOBJ"}:
            fine = type(call.arguments) is tuple and bool(rule_of(call.function)(call.arguments))
        if not fine:
            raise UnsafeModelError(f"{where}: a call at byte {call.position}")
    for one in trace.stored:
        check_storage(one, where)
    return trace
