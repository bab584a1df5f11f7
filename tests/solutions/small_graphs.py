"""Small ONNX graphs for tests: built in a few lines, run by several engines.

    net = SmallGraph([1, 3, 8, 8], seed=1)
    y = net.relu(net.conv(net.input, 8))
    model = net.model(net.conv(y, 4, kernel=1))
"""

from collections import Counter

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator


class SmallGraph:
    """A graph that grows node by node; each method gives back the name of what its node makes."""

    def __init__(self, shape, seed=0, opset=17, kind=TensorProto.FLOAT, name="x"):
        self.rng = np.random.default_rng(seed)
        self.opset, self.nodes, self.constants, self.inputs = opset, [], {}, []
        self.input = self.another_input(name, shape, kind)

    def another_input(self, name, shape, kind=TensorProto.FLOAT):
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def constant(self, values, name=""):
        name = name or f"c{len(self.constants)}"
        self.constants[name] = np.asarray(values)
        return name

    def node(self, op_type, *inputs, outputs=1, domain="", **attributes):
        """Any operator; its outputs' names (one name where there is one output)."""
        number = len(self.nodes)
        made = [f"{op_type.lower()}{number}" + (f"_{i}" if i else "") for i in range(outputs)]
        attributes.setdefault("name", f"{op_type}{number}")
        self.nodes.append(helper.make_node(
            op_type, list(inputs), made, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def weights(self, *shape, fan=None):
        """Normal values whose layer keeps the size of its input."""
        fan = fan or int(np.prod(shape[1:]))
        return self.rng.normal(0, fan**-0.5, shape).astype(np.float32)

    def conv(self, x, out, channels, kernel=3, bias=True, group=1, **attributes):
        weights = [self.constant(self.weights(out, channels // group, kernel, kernel))]
        if bias:
            weights.append(self.constant(self.rng.normal(0, 0.3, out).astype(np.float32)))
        attributes.setdefault("pads", [kernel // 2] * 4)
        return self.node("Conv", x, *weights, group=group, kernel_shape=[kernel, kernel],
                         **attributes)

    def relu(self, x):
        return self.node("Relu", x)

    def gemm(self, x, inner, out, **attributes):
        weights = self.weights(*((out, inner) if attributes.get("transB") else (inner, out)),
                               fan=inner)
        bias = self.rng.normal(0, 0.3, out).astype(np.float32)
        return self.node("Gemm", x, self.constant(weights), self.constant(bias), **attributes)

    def model(self, *outputs, kind=TensorProto.FLOAT, ir_version=8, weights_as_inputs=False):
        """The checked model; the outputs' shapes are inferred."""
        made = [helper.make_tensor_value_info(name, kind, None) for name in outputs]
        tensors = [numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        listed = [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims))
                  for t in tensors] if weights_as_inputs else []
        graph = helper.make_graph(self.nodes, "small", [*self.inputs, *listed], made, tensors)
        opsets = [helper.make_opsetid("", self.opset)]
        domains = {node.domain for node in self.nodes} - {""}
        opsets += [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
        model = onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=opsets, ir_version=ir_version))
        if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
            onnx.checker.check_model(model)  # it wants shapes, which a loop may hide
        return model


def run_onnxruntime(model, feeds, optimize=True):
    """The outputs, in ONNX Runtime on the CPU."""
    return ort_session(model, optimize).run(None, feeds)


def ort_session(model, optimize=True, saved=None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    if saved is not None:  # without the layouts of ALL, which no other tool can read
        level, options.optimized_model_filepath = levels.ORT_ENABLE_EXTENDED, str(saved)
    options.graph_optimization_level = level
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def fused_model(model, folder):
    """The model as ONNX Runtime runs it, read back from what it saves (but for its layouts)."""
    ort_session(model, saved=folder / "fused.onnx")
    return onnx.load(folder / "fused.onnx")


def fused_operators(model, folder):
    """How many nodes of each type are left in ONNX Runtime's fused model."""
    return Counter(node.op_type for node in fused_model(model, folder).graph.node)


def run_reference(model, feeds):
    """The outputs, by onnx's reference evaluator, which knows quantizing from opset 19 on."""
    opset = max(o.version for o in model.opset_import if o.domain == "")
    if opset < 19 and any("Linear" in node.op_type for node in model.graph.node):
        model = onnx.version_converter.convert_version(model, 19)
    return ReferenceEvaluator(model).run(None, feeds)


def run_openvino(model, feeds):
    """The outputs, in OpenVINO on the CPU in float32 (or in integers, where it is quantized)."""
    network = openvino_network(model)
    found = network.create_infer_request().infer(dict(feeds))
    return [np.array(found[i]) for i in range(len(network.outputs))]


def openvino_network(model):
    import openvino

    core = openvino.Core()
    network = core.read_model(model.SerializeToString(), b"")
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return core.compile_model(network, "CPU", options)


def openvino_kernels(model):
    """How many kernels of each kind and precision OpenVINO runs, as ("Convolution", "u8")."""
    found = [node.get_rt_info() for node in openvino_network(model).get_runtime_model().get_ops()]
    facts = [[info[key].astype(str) for key in ("layerType", "runtimePrecision")] for info in found]
    return Counter((kind, precision) for kind, precision in facts)


def normal_batches(shape, count=4, seed=7, name="x"):
    """Standard normal batches for one input."""
    rng = np.random.default_rng(seed)
    return [{name: rng.normal(size=shape).astype(np.float32)} for _ in range(count)]


def operators(model):
    """How many nodes of each type there are."""
    return Counter(node.op_type for node in model.graph.node)
