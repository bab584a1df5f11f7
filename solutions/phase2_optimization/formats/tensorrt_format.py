"""TensorRT: the ONNX graph becomes an engine of the GPU's own kernels, chosen by measuring them.

What needs TensorRT or a GPU stands here; profiles, precision, cache and input preparation have
files of their own. Written for the APIs of TensorRT 10 and 11: networks are strongly typed (a flag
in 10, always so in 11), tensors are addressed by name, and work is put on a CUDA stream.
Source: https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x.html
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from solutions.phase1_basics.tensor_spec import TensorSpec
from solutions.phase2_optimization.formats.compiled import (
    Batch,
    Compiled,
    FormatOptions,
    Outputs,
    Source,
    Stopwatch,
    faults_of,
)
from solutions.phase2_optimization.formats.tensorrt_engines import (
    EngineCache,
    EngineFacts,
    engine_facts,
)
from solutions.phase2_optimization.formats.tensorrt_inputs import prepare_inputs
from solutions.phase2_optimization.formats.tensorrt_precision import check_device, graph_in
from solutions.phase2_optimization.formats.tensorrt_profiles import Profile, batch_profiles
from zoo.errors import InferenceError, MissingExtraError

WORKSPACE = 2 << 30  # bytes that kernels may use beside weights and activations
DEVICE = "cuda"  # where torch holds inputs and outputs


def fp32(source: Source, options: FormatOptions) -> Compiled:
    """A float32 engine; matrix products in TF32, TensorRT's default."""
    return compile_engine(source, options, "fp32")


def fp16(source: Source, options: FormatOptions) -> Compiled:
    """A float16 engine."""
    return compile_engine(source, options, "fp16")


def bf16(source: Source, options: FormatOptions) -> Compiled:
    """A bfloat16 engine."""
    return compile_engine(source, options, "bf16")


def int8(source: Source, options: FormatOptions) -> Compiled:
    """An INT8 engine by explicit QuantizeLinear and DequantizeLinear of the course's quantizer."""
    return compile_engine(source, options, "int8")


def require_tensorrt() -> Any:
    """The package, where there is a GPU too.

    Raises MissingExtraError without TensorRT, InferenceError without a GPU or with a version that
    is too old.
    """
    try:
        import tensorrt
    except ImportError as error:
        raise MissingExtraError("tensorrt", "gpu") from error
    import torch

    if int(tensorrt.__version__.partition(".")[0]) < 10:
        raise InferenceError(f"TensorRT {tensorrt.__version__}: 10 or newer is needed")
    if not torch.cuda.is_available():
        raise InferenceError("TensorRT is installed, but there is no CUDA GPU here")
    return tensorrt


def compile_engine(source: Source, options: FormatOptions, precision: str) -> Compiled:
    """The network as an engine, from the cache where one fits."""
    from solutions.phase2_optimization.formats.int8_file import quantized_file
    from solutions.phase2_optimization.formats.onnx_source import onnx_source
    from solutions.phase2_optimization.onnx_rewrite import load_onnx
    from solutions.phase2_optimization.tasks import input_specs

    trt = require_tensorrt()
    device, capability = this_device()
    check_device(precision, device, capability)
    watch = Stopwatch()
    make = quantized_file if precision == "int8" else onnx_source
    model = graph_in(load_onnx(make(source, options)[0]), precision)
    specs = input_specs(model)
    profiles = batch_profiles(specs, source.example, options.sizes)
    serialized = model.SerializeToString(deterministic=True)
    facts = engine_facts(serialized, precision, profiles, trt.__version__, device, capability)
    cache = EngineCache(cache_folder())
    engine = cache.get_or_build(facts, lambda: build(trt, serialized, profiles, cache, facts))
    runner = EngineRunner(trt, engine.data, specs, profiles)
    name = "tensorrt" if precision == "fp32" else f"tensorrt-{precision}"
    made = f"built: {engine.built}" if engine.built else "from the cache"
    return Compiled(name, runner.run, watch.seconds(), len(engine.data), f"{device}, {made}")


def cache_folder() -> Path:
    """Where engines and timing caches are kept."""
    from zoo.registry import cache_folder as zoo_cache

    return zoo_cache() / "tensorrt"


def this_device() -> tuple[str, tuple[int, int]]:
    """The current GPU's name and compute capability."""
    import torch

    return torch.cuda.get_device_name(), torch.cuda.get_device_capability()


def build(
    trt: Any, model: bytes, profiles: Sequence[Profile], cache: EngineCache, facts: EngineFacts
) -> bytes:
    """Build an engine and serialize it. Raises InferenceError with what the parser or builder says.

    Kernels that were measured before are not measured again (the timing cache).
    """
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(creation_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        said = [str(parser.get_error(number)) for number in range(parser.num_errors)]
        raise InferenceError(f"TensorRT cannot read the graph: {' '.join(said)[:300]}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE)
    timing = config.create_timing_cache(cache.timing_cache(facts))
    config.set_timing_cache(timing, ignore_mismatch=False)
    for ranges in profiles:
        profile = builder.create_optimization_profile()
        for each in ranges:
            profile.set_shape(each.name, each.minimum, each.best, each.maximum)
        config.add_optimization_profile(profile)
    with faults_of("TensorRT"):
        plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise InferenceError("TensorRT could not build an engine: its log says why")
    cache.keep_timing_cache(facts, bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def creation_flags(trt: Any) -> int:
    """Strongly typed: asked for in TensorRT 10; TensorRT 11 knows nothing else."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


class EngineRunner:
    """An engine with a context per profile, run on a CUDA stream of its own.

    torch gives memory and the stream. Raises InferenceError where the engine is refused.
    """

    def __init__(
        self, trt: Any, data: bytes, inputs: Sequence[TensorSpec], profiles: Sequence[Profile]
    ) -> None:
        import torch

        self._torch: Any = torch
        self._inputs, self._profiles = inputs, profiles
        self._stream = self._torch.cuda.Stream()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise InferenceError("TensorRT refuses the engine: it was built elsewhere")
        self._contexts = []
        for number in range(len(profiles)):
            context = self._engine.create_execution_context()
            if context is None:
                raise InferenceError("no GPU memory is left for another TensorRT context")
            context.set_optimization_profile_async(number, self._stream.cuda_stream)
            self._contexts.append(context)
        self._stream.synchronize()
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        is_output = trt.TensorIOMode.OUTPUT
        self._outputs = [n for n in names if self._engine.get_tensor_mode(n) == is_output]
        self._types = {name: _torch_type(torch, trt.nptype(self._engine.get_tensor_dtype(name)))
                       for name in self._outputs}

    def run(self, batch: Batch) -> Outputs:
        """All outputs; the copies to and from the GPU are part of it."""
        torch = self._torch
        ready = prepare_inputs(batch, self._inputs, self._profiles)
        context = self._contexts[ready.profile]
        with torch.cuda.stream(self._stream):
            held = [torch.from_numpy(array).to(DEVICE, non_blocking=True)
                    for array in ready.arrays]
            for spec, tensor in zip(self._inputs, held, strict=True):
                context.set_input_shape(spec.name, tuple(tensor.shape))
                context.set_tensor_address(spec.name, tensor.data_ptr())
            made = []
            for name in self._outputs:
                shape = tuple(context.get_tensor_shape(name))
                made.append(torch.empty(shape, dtype=self._types[name], device=DEVICE))
                context.set_tensor_address(name, made[-1].data_ptr())
            if not context.execute_async_v3(self._stream.cuda_stream):
                raise InferenceError("TensorRT could not run the engine: its log says why")
            found = [tensor.to("cpu", non_blocking=True) for tensor in made]
        self._stream.synchronize()
        return [tensor.numpy() for tensor in found]


def _torch_type(torch: Any, dtype: Any) -> Any:
    import numpy as np

    return torch.from_numpy(np.empty(0, dtype)).dtype
