"""The verdict on a pickle: read opcode by opcode, before anything is built."""

from collections.abc import Callable
from typing import Any

from solutions.phase1_basics.pickle_rules import (
    RULES,
    Rule,
    is_harmless_state,
    is_harmless_value,
    storage_bytes,
)
from solutions.phase1_basics.pickle_trace import Call, Global, Made, Stored, Trace, trace_pickle
from solutions.phase1_basics.unsafe_model import UnsafeModelError
from zoo.errors import InferenceError

__all__ = ["Global", "check_pickle", "scan_pickle", "state_dict_rule"]

RuleOf = Callable[[Global], Rule | None]  # the rule for calling an import; None: not allowed
StateRule = Callable[[Any, Any], bool]  # whether BUILD may give this state to this thing
OLD_NAMES = {"__builtin__": "builtins"}  # what protocols 0 to 2 call the same modules


def scan_pickle(data: bytes) -> list[Global]:
    """Every import in ``data``, in order, over all pickles that follow one another in it.

    Raises InferenceError for a damaged pickle.
    """
    found: list[Global] = []
    position = 0
    while position < len(data):
        trace = trace_pickle(data, position)
        found += trace.globals
        position = trace.end
    return found


def state_dict_rule(found: Global) -> Rule | None:
    """The rule for an import in a state dict: the exact list of ``pickle_rules``."""
    rule = RULES.get((OLD_NAMES.get(found.module, found.module), found.name))
    if rule is None and is_harmless_value(found):
        return _never
    return rule


def check_pickle(
    data: bytes, where: str, rule_of: RuleOf = state_dict_rule,
    allows_state: StateRule = is_harmless_state, start: int = 0,
) -> Trace:
    """One pickle's trace, once every import, call and persistent id in it is allowed.

    ``where`` names the pickle in messages; ``rule_of`` and ``allows_state`` are the lists that
    calls and BUILD are held against.

    Raises UnsafeModelError that names the import and its byte; InferenceError where damaged.
    """
    try:
        trace = trace_pickle(data, start)
    except InferenceError as error:
        raise InferenceError(f"{where}: {error}") from error
    for found in trace.globals:
        if rule_of(found) is None:
            raise UnsafeModelError(
                f"{where} asks for {str(found)[:200]!r} at byte {found.position}, which is not a "
                "part of tensors: it could run anything"
            )
    for stored in trace.stored:
        check_storage(stored, where)
    for call in trace.calls:
        _check_call(call, where, rule_of, allows_state)
    return trace


def check_storage(stored: Stored, where: str) -> None:
    """Raise UnsafeModelError unless a persistent id names a storage.

    That is ``("storage", type, key, location, elements[, view])``.
    """
    identity = stored.identity
    if (
        not isinstance(identity, tuple) or len(identity) not in (5, 6)
        or not (identity[0] == "storage" or identity[0] == Made("string"))
        or storage_bytes(identity[1]) is None
        or type(identity[4]) is not int or identity[4] < 0
    ):
        raise UnsafeModelError(f"{where} refers to something that is not a tensor's storage")


def _check_call(call: Call, where: str, rule_of: RuleOf, allows_state: StateRule) -> None:
    target = call.function
    if call.opcode == "BUILD":
        allowed, name = allows_state(target, call.arguments), _name(target)
    elif call.opcode in ("REDUCE", "NEWOBJ", "OBJ") and isinstance(target, Global):
        rule, name = rule_of(target), _name(target)
        arguments = call.arguments
        allowed = rule is not None and isinstance(arguments, tuple) and rule(arguments)
    else:
        allowed, name = False, _name(target)
    if not allowed:
        raise UnsafeModelError(
            f"{where} uses {name[:200]!r} by {call.opcode} at byte {call.position} in a way that "
            "no state dict does"
        )


def _name(target: object) -> str:
    if isinstance(target, Made):
        return target.by
    return str(target) if isinstance(target, Global) else f"a {type(target).__name__}"


def _never(arguments: tuple[object, ...]) -> bool:
    """A type or a dtype is a value: it is not called."""
    return False
