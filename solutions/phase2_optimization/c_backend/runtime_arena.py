"""How many bytes ONNX Runtime's arena takes for the activations of one inference.

ONNX Runtime tells this in its log only, for the whole process: so it runs in a process of its own,
told to extend its arena by no more than is asked for, with weights kept outside. Memory patterns
are off: with them, from the second inference on, it holds a second block for the whole plan.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from solutions.phase2_optimization.onnx_rewrite import Model

PROGRAM = """
import sys
import numpy as np
import onnxruntime as ort

ort.set_default_logger_severity(0)
memory = ort.OrtMemoryInfo(
    "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
as_requested = {"arena_extend_strategy": 1, "initial_chunk_size_bytes": 64}
ort.create_and_register_allocator(memory, ort.OrtArenaCfg(as_requested))
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.enable_mem_pattern = False
options.add_session_config_entry("session.use_env_allocators", "1")
options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
session = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
print("RUN", file=sys.stderr, flush=True)
session.run(None, {i.name: np.zeros(i.shape, np.float32) for i in session.get_inputs()})
"""
EXTENDED = re.compile(r"Extended allocation by (\d+) bytes")
SECONDS = 120


def onnxruntime_arena_bytes(model: Model) -> int | None:
    """Bytes that the arena grew by in the first inference, outputs included; None if untold.

    The model's inputs must be float32 and of fixed shapes.
    """
    handle, name = tempfile.mkstemp(suffix=".onnx")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString())
        done = subprocess.run([sys.executable, "-c", PROGRAM, name], capture_output=True,
                              text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None
    finally:
        Path(name).unlink(missing_ok=True)
    log = done.stderr.split("\nRUN\n")
    if done.returncode or len(log) != 2:
        return None
    found = [int(size) for size in EXTENDED.findall(log[1])]
    return sum(found) or None
