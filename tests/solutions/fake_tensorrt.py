"""TensorRT's documented Python API over ONNX Runtime: addresses, profiles, streams as told.

It refuses what the real one refuses: a weakly typed network (as version 10 would build), shapes
outside of the profile, tensors without an address, engines of another version, uint8 quantization.
"""

import ctypes
import json
from enum import IntEnum

import numpy as np
import onnx
import onnxruntime as ort


class NetworkDefinitionCreationFlag(IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class MemoryPoolType(IntEnum):
    WORKSPACE = 0


class TensorIOMode(IntEnum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class Logger:
    ERROR = 1

    def __init__(self, severity):
        self.severity = severity


class Parser:
    def __init__(self, network, logger):
        self.network, self.errors = network, []

    def parse(self, data):
        model = onnx.load_from_string(data)
        unknown = [node.op_type for node in model.graph.node if node.domain == "own"]
        stored = {each.name: each.data_type for each in model.graph.initializer}
        wrong = [node.name for node in model.graph.node if node.op_type.endswith("izeLinear")
                 and len(node.input) > 2 and stored[node.input[2]] != onnx.TensorProto.INT8]
        self.errors = [f"no importer for {name}" for name in unknown] + wrong
        self.network["model"] = data
        return not self.errors

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, number):
        return self.errors[number]


class Profile(dict):
    def set_shape(self, name, minimum, best, maximum):
        self[name] = [list(minimum), list(best), list(maximum)]


class TimingCache:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return memoryview(self.data + b"+1")


class Config:
    def __init__(self):
        self.profiles, self.limits = [], {}

    def set_memory_pool_limit(self, pool, size):
        self.limits[pool] = size

    def create_timing_cache(self, data):
        return TimingCache(data)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache

    def get_timing_cache(self):
        return self.cache

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1


class Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.shapes, self.profile = engine, {}, {}, None

    def set_optimization_profile_async(self, number, stream):
        self.profile = self.engine.profiles[number]
        return True

    def set_input_shape(self, name, shape):
        low, _, high = self.profile[name]
        assert all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)), (name, shape)
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def get_tensor_shape(self, name):
        rows = next(iter(self.shapes.values()))[0]
        value = next(each for each in self.engine.session.get_outputs() if each.name == name)
        return (rows, *value.shape[1:])

    def execute_async_v3(self, stream):
        session = self.engine.session
        feeds = {}
        for value in session.get_inputs():
            shape = self.shapes[value.name]
            buffer = ctypes.string_at(self.addresses[value.name], int(np.prod(shape)) * 4)
            feeds[value.name] = np.frombuffer(buffer, np.float32).reshape(shape)
        for value, found in zip(session.get_outputs(), session.run(None, feeds), strict=True):
            ctypes.memmove(self.addresses[value.name], found.tobytes(), found.nbytes)
        return True


class Engine:
    def __init__(self, about):
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        self.profiles = about["profiles"]
        self.session = ort.InferenceSession(bytes.fromhex(about["model"]), settings,
                                            providers=["CPUExecutionProvider"])
        self.names = [value.name for value in self.session.get_inputs()]
        self.inputs = len(self.names)
        self.names += [value.name for value in self.session.get_outputs()]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, number):
        return self.names[number]

    def get_tensor_mode(self, name):
        is_input = self.names.index(name) < self.inputs
        return TensorIOMode.INPUT if is_input else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name):
        return "FLOAT"

    def create_execution_context(self):
        return Context(self)


class Fake:
    """A stand-in for the module; ``builds`` counts the engines that it built."""

    NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag
    MemoryPoolType, TensorIOMode, Logger = MemoryPoolType, TensorIOMode, Logger
    OnnxParser = Parser

    def __init__(self, version="11.4.0"):
        self.__version__, self.builds, self.fails = version, 0, False

    def nptype(self, dtype):
        return np.float32

    def Builder(self, logger):
        outer = self

        class Builder:
            def create_network(self, flags=0):
                assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
                return {}

            def create_builder_config(self):
                return Config()

            def create_optimization_profile(self):
                return Profile()

            def build_serialized_network(self, network, config):
                outer.builds += 1
                assert config.profiles and config.limits
                about = {"model": network["model"].hex(), "profiles": config.profiles,
                         "version": outer.__version__}
                return None if outer.fails else memoryview(json.dumps(about).encode())

        return Builder()

    def Runtime(self, logger):
        outer = self

        class Runtime:
            def deserialize_cuda_engine(self, data):
                about = json.loads(data)
                return Engine(about) if about["version"] == outer.__version__ else None

        return Runtime()
