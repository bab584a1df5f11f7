"""The refusal of a model file that would do more than carry numbers."""

from zoo.errors import InferenceError


class UnsafeModelError(InferenceError):
    """A model file asks for something that loading must not do: run code, leave its folder.

    The message names the offending thing and where it stands in the file. A file that is only
    damaged raises a plain :class:`InferenceError`.
    """
