"""The verdict on a pickle: read opcode by opcode, before anything is built.

Your part, to be checked by ``course check``:

    1.2 Loading that executes nothing: check_pickle

The idea, an example and the usual mistakes: guidelines.md#12-loading-that-executes-nothing
"""

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
    # TODO 1.2 Loading that executes nothing
    # 1. Let trace_pickle read the pickle: it notes what the pickle would import (globals), call
    #    (calls) and fetch (stored), and runs nothing. Where the pickle is damaged, say where: put
    #    `where` before its message.
    # 2. Refuse an import that rule_of has no rule for: raise UnsafeModelError with the import's
    #    name and its byte.
    # 3. Hand every storage to check_storage.
    # 4. Look at every call. BUILD is allowed where allows_state says so, of the thing and the state
    #    that it is given. REDUCE, NEWOBJ and OBJ call something: that must be a Global, with a
    #    rule, and the rule must allow the tuple of arguments. Nothing else is allowed.
    # 5. Return the trace.
    raise NotImplementedError("exercise 1.2: check_pickle")


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


def _name(target: object) -> str:
    if isinstance(target, Made):
        return target.by
    return str(target) if isinstance(target, Global) else f"a {type(target).__name__}"


def _never(arguments: tuple[object, ...]) -> bool:
    """A type or a dtype is a value: it is not called."""
    return False
