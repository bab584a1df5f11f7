"""What every loaded model can do, whatever its format and runtime."""

from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from solutions.phase1_basics.tensor_spec import TensorSpec


@dataclass(frozen=True)
class ModelAbout:
    """What is known of a loaded model beside its inputs and outputs."""

    runtime: str  # name and version
    device: str
    parameters: int | None = None  # None: not known
    arch: str | None = None  # of the registry of architectures, where one was needed
    bounds: tuple[str, ...] = ()  # of the worker process that runs it, as they really hold


class Model(Protocol):
    """A loaded model.

    ``predict`` is for the common case of one input and one output; ``run`` takes one array for
    each entry of ``input_spec`` and gives one for each of ``output_spec``, in their order.
    Both raise InferenceError where an input does not fit.
    """

    @property
    def input_spec(self) -> tuple[TensorSpec, ...]:
        """The inputs."""

    @property
    def output_spec(self) -> tuple[TensorSpec, ...]:
        """The outputs; empty where only a run can tell them."""

    @property
    def about(self) -> ModelAbout:
        """Runtime, device, size."""

    def predict(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The first output for one batch of the only input."""

    def run(self, *inputs: NDArray[Any]) -> list[NDArray[Any]]:
        """All outputs."""

    def close(self) -> None:
        """Give back what the model holds: memory, a worker process."""
