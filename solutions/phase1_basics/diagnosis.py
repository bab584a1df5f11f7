"""Is it the environment or the mathematics?

The problem: a wrong answer and a broken installation look alike from far away, and each is cured
elsewhere. The idea: judge the environment from plain facts, judge the mathematics by small
computations whose answers are known, and never report one as the other.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

from solutions.phase1_basics.device_choice import runs_on
from solutions.phase1_basics.machine_facts import MachineFacts
from solutions.phase1_basics.self_tests import SelfTest

GIB = 1 << 30
LITTLE_MEMORY = 2 * GIB
OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python",
          "opencv-contrib-python-headless")
TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-intel")
ONNX_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
NEEDED = {"numpy": "edge", "opencv-python-headless": "edge", "onnxruntime": "edge",
          "scipy": "edge"}
WANTED = {"torch": "learn", "torchvision": "learn", "safetensors": "learn", "onnx": "learn",
          "ai-edge-litert": "learn"}


class Finding(NamedTuple):
    """One thing that is to be said."""

    area: Literal["environment", "mathematics"]
    verdict: Literal["fault", "warning", "fine"]
    what: str
    remedy: str = ""


def diagnose(facts: MachineFacts, tests: Sequence[SelfTest]) -> list[Finding]:
    """What is wrong with an environment, then with the mathematics; worst first in each.

    A test that could not run is a fault of the environment; one that ran and gave another answer
    is a fault of the mathematics.
    """
    environment = [finding for rule in RULES for finding in rule(facts)]
    mathematics = []
    for test in tests:
        if test.outcome == "wrong":
            mathematics.append(Finding("mathematics", "fault", f"{test.name}: {test.detail}",
                                       test.remedy))
        elif test.outcome == "broken":
            environment.append(Finding("environment", "fault", f"{test.name}: {test.detail}",
                                       "reinstall it: pip install --force-reinstall"))
        elif test.outcome == "right":
            mathematics.append(Finding("mathematics", "fine", f"{test.name}: {test.detail}"))
    rank = {"fault": 0, "warning": 1, "fine": 2}
    groups = (environment, mathematics)
    return [item for group in groups for item in sorted(group, key=lambda f: rank[f.verdict])]


def _fault(what: str, remedy: str) -> Finding:
    return Finding("environment", "fault", what, remedy)


def _warning(what: str, remedy: str) -> Finding:
    return Finding("environment", "warning", what, remedy)


def check_python(facts: MachineFacts) -> Iterator[Finding]:
    """Too old a Python."""
    if facts.python < (3, 11):
        found = ".".join(map(str, facts.python))
        yield _fault(f"Python {found}", "use Python 3.11 or newer")


def check_packages(facts: MachineFacts) -> Iterator[Finding]:
    """Missing extras."""
    for package, extra in NEEDED.items():
        others = OPENCV if package.startswith("opencv") else (
            ONNX_RUNTIMES if package == "onnxruntime" else (package,))
        if not any(name in facts.packages for name in others):
            yield _fault(f"{package} is not installed", f"pip install '.[{extra}]'")
    absent = [package for package in WANTED if package not in facts.packages]
    if absent:
        yield _warning(f"not installed: {', '.join(absent)}", "pip install '.[learn]'")


def check_twins(facts: MachineFacts) -> Iterator[Finding]:
    """Packages that overwrite each other's files."""
    for family in (OPENCV, ONNX_RUNTIMES):
        found = [name for name in family if name in facts.packages]
        if len(found) > 1:
            keep = "opencv-python-headless" if family is OPENCV else found[-1]
            yield _fault(
                f"{' and '.join(found)} are both installed and overwrite each other's files",
                f"pip uninstall -y {' '.join(found)}, then pip install {keep}",
            )


def check_tensorflow_order(facts: MachineFacts) -> Iterator[Finding]:
    """TensorFlow beside triton: whichever is imported second may crash the process."""
    here = next((name for name in TENSORFLOW if name in facts.packages), None)
    if here and "triton" in facts.packages:
        yield _warning(
            f"{here} and triton in one environment: importing TensorFlow before anything that "
            "loads triton (torchvision, torch.compile) crashes the process",
            "give TensorFlow an environment of its own (make tensorflow) and name its "
            "interpreter in INFERENCE_TENSORFLOW_PYTHON, or import triton first",
        )
    if not here and facts.tensorflow_python is None:
        yield _warning("no TensorFlow: SavedModel and Keras files cannot be run",
                       "make tensorflow, then set INFERENCE_TENSORFLOW_PYTHON")


def check_cpu(facts: MachineFacts) -> Iterator[Finding]:
    """Instructions that the runtimes' fast paths need."""
    if facts.machine not in ("x86_64", "AMD64") or not facts.cpu_flags:
        return
    if "avx2" not in facts.cpu_flags:
        yield _fault("this processor, or the virtual machine around it, has no AVX2",
                     "choose another machine or CPU type: runtimes fall back to code that is "
                     "several times slower, and some wheels crash (illegal instruction)")
    elif not {"avx512_vnni", "avx_vnni"} & facts.cpu_flags:
        yield _warning(
            "no VNNI: INT8 is little faster than floats here, and 8-bit products may saturate "
            "(uint8 activations with full-range int8 weights)",
            "quantize weights to 7 bits (reduce_range), or use uint8 weights",
        )


def check_memory(facts: MachineFacts) -> Iterator[Finding]:
    """Too little memory."""
    if facts.memory_free is not None and facts.memory_free < LITTLE_MEMORY:
        yield _warning(f"only {facts.memory_free / GIB:.1f} GiB of memory are free",
                       "close other programs, raise the container's limit, or use smaller "
                       "models and batches")
    for gpu in facts.gpus:
        if gpu.free < GIB:
            yield _warning(f"{gpu.name}: only {gpu.free / GIB:.1f} of {gpu.memory / GIB:.1f} GiB "
                           "are free", "see with nvidia-smi who uses it")


def check_gpu(facts: MachineFacts) -> Iterator[Finding]:
    """From the hardware up: driver, CUDA version, what torch was built for."""
    if facts.nvidia_hardware and facts.driver is None:
        yield _fault(f"{facts.nvidia_hardware} NVIDIA GPU(s) and no driver",
                     "install NVIDIA's driver (the CUDA toolkit is not needed)")
        return
    if facts.driver is None or "torch" not in facts.packages:
        return
    if facts.torch_cuda is None and not facts.torch_error:
        yield _fault("a GPU, and a torch that was built without CUDA",
                     "pip uninstall torch torchvision, then install the wheels for CUDA")
        return
    if facts.torch_cuda and facts.driver_cuda and facts.torch_cuda[0] > facts.driver_cuda[0]:
        ours, theirs = (".".join(map(str, v)) for v in (facts.torch_cuda, facts.driver_cuda))
        yield _fault(
            f"torch needs CUDA {ours}, driver {facts.driver} runs up to CUDA {theirs}",
            f"update the driver, or install a torch for CUDA {facts.driver_cuda[0]}",
        )
    elif not facts.gpus:
        yield _fault(f"driver {facts.driver} is there, torch finds no GPU"
                     + (f" ({facts.torch_error})" if facts.torch_error else ""),
                     "nvidia-smi must list it; check CUDA_VISIBLE_DEVICES and, in a container, "
                     "--gpus all")
    for gpu in facts.gpus:
        if not runs_on(gpu, facts.torch_arches):
            major, minor = gpu.capability
            yield _fault(f"{gpu.name} is sm_{major}{minor}, torch was built for "
                         f"{', '.join(facts.torch_arches)}",
                         "install a torch that was built for it")
    if facts.gpus and facts.onnx_providers and "CUDAExecutionProvider" not in facts.onnx_providers:
        yield _warning("ONNX Runtime runs on the CPU alone: this wheel has no CUDA",
                       "pip uninstall onnxruntime, then pip install onnxruntime-gpu")


def check_torch(facts: MachineFacts) -> Iterator[Finding]:
    """A torch that is installed and cannot be imported."""
    if facts.torch_error and facts.torch_cuda is None:
        yield _fault(f"torch cannot be imported: {facts.torch_error}",
                     "install torch and torchvision from the same index, in matching versions")


RULES: tuple[Callable[[MachineFacts], Iterator[Finding]], ...] = (
    check_python, check_packages, check_twins, check_torch, check_gpu, check_memory, check_cpu,
    check_tensorflow_order,
)
