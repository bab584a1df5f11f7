"""Files and graphs that are broken, odd or large: one line each, and nothing half-done."""

import copy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper, parser
from rewritten import parsed, run

from solutions.phase2_optimization import model_files, onnx_protobuf
from solutions.phase2_optimization.compiler_command import compile_command
from solutions.phase2_optimization.graph_check import check_model
from solutions.phase2_optimization.model_files import read_model, write_model
from solutions.phase2_optimization.onnx_rewrite import OnnxGraph
from solutions.phase2_optimization.pass_manager import optimize
from zoo.errors import InferenceError

SMALL = "(float[N, 4] x) => (float[N, 4] y) { a = Identity(x)  b = Neg(a)  y = Exp(b) }"


def refused(model: onnx.ModelProto) -> str:
    with pytest.raises(InferenceError) as found:
        check_model(model)
    text = str(found.value)
    assert "\n" not in text
    return text


def test_no_model_at_all() -> None:
    assert "no graph" in refused(onnx.ModelProto())


def test_an_empty_graph() -> None:
    model = parsed(SMALL)
    del model.graph.node[:], model.graph.output[:]
    assert "no outputs" in refused(model)


def test_a_graph_without_nodes_that_gives_its_input_passes_through() -> None:
    model = parsed("(float[2] x) => (float[2] x) { }")
    assert len(optimize(model).model.graph.output) == 1


def test_a_cycle_is_named() -> None:
    model = parsed(SMALL)
    model.graph.node[0].input[0] = "b"
    assert "cycle" in refused(model)


def test_nodes_in_the_wrong_order_are_put_in_order() -> None:
    model = parsed(SMALL)
    nodes = [copy.deepcopy(node) for node in model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(reversed(nodes))
    made = optimize(model, stages=[[]]).model
    onnx.checker.check_model(made)


@pytest.mark.parametrize(("text", "told"), [
    ("(float[2] x) => (float[2] y) { y = Neg(missing) }", "reads 'missing', which nobody makes"),
    ("(float[2] x) => (float[2] z) { y = Neg(x) }", "output 'z' is made by no node"),
    ("(float[2] x) => (float[2] y) { y = Neg(x)  y = Exp(x) }", "two nodes make a tensor called"),
    ("(float[2] x) => (float[2] y) { x = Neg(x)  y = Exp(x) }", "'x' is an input or initializer"),
    ("(float[2] x, float[2] x) => (float[2] y) { y = Neg(x) }", "two inputs called 'x'"),
    ("(float[2] x) => (float[2] y) { y = other.Thing(x) }", "of domain 'other'"),
])
def test_names_and_domains_that_do_not_fit(text: str, told: str) -> None:
    assert told in refused(parsed(text))


def test_a_name_that_only_a_subgraph_misses() -> None:
    model = parsed("""(bool c, float[2] x) => (float[2] y) {
        y = If(c) <then_branch = t () => (float[2] a) { a = Neg(x) },
                   else_branch = e () => (float[2] b) { b = Neg(gone) }> }""")
    assert "'gone'" in refused(model)


def test_control_flow_keeps_what_its_branches_read() -> None:
    text = """(bool c, float[2] x) => (float[2] y)
        <float[2] w = {1.0, 2.0}, float[2] v = {1.0, 2.0}> {
        a = Identity(x)
        n = Add(a, v)
        y = If(c) <then_branch = t () => (float[2] p) { p = Add(n, w) },
                   else_branch = e () => (float[2] q) { q = Neg(a) }>
    }"""
    model = parsed(text)
    made = optimize(model).model
    onnx.checker.check_model(made, full_check=True)
    for flag in (True, False):
        feeds = {"c": np.array(flag), "x": np.array([3, 4], np.float32)}
        np.testing.assert_array_equal(run(made, feeds)[0], run(model, feeds)[0])


def test_local_functions_are_kept_and_neither_folded_nor_merged() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        g (float[2] x) => (float[2] y) <float[2] w = {1.0, 2.0}> {
            a = own.noisy(w)  b = own.noisy(w)  c = Sub(a, b)  y = Add(x, c)
        }
        <domain: "own", opset_import: ["" : 17]>
        noisy (v) => (r) { n = RandomNormalLike(v)  r = Add(v, n) }""")
    made = optimize(model)
    assert len(made.model.functions) == 1 and made.notes == []
    assert [n.op_type for n in made.model.graph.node].count("noisy") == 2


def test_unknown_operators_are_kept_and_named() -> None:
    made = optimize(parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "mine" : 3]>
        g (float[2] x) => (float[2] y) { a = mine.Thing(x)  b = mine.Thing(x)
            c = Add(a, b)  y = NoSuchThing(c) }"""))
    assert made.notes == ["unknown operator, kept: ai.onnx.NoSuchThing (1)",
                          "unknown operator, kept: mine.Thing (2)"]
    assert made.nodes_after == 4


def test_operators_of_strangers_are_not_taken_for_onnx_own() -> None:
    """Same names, other domain: nothing is known of what they do."""
    made = optimize(parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[2, 3] x) => (float[2, 3] y) <int64[2] s = {2, 3}, float[1] zero = {0.0}> {
            a = mine.Transpose<perm = [0, 1]>(x)  b = mine.Transpose<perm = [0, 1]>(a)
            c = mine.Identity(b)  d = mine.Cast<to = 1>(c)  e = mine.Cast<to = 1>(d)
            f = mine.Reshape(e, s)  g = mine.Reshape(f, s)  h = mine.Add(g, zero)
            i = mine.Concat<axis = 0>(h)  j = mine.Concat<axis = 0>(i)  k = mine.Shape(j)
            l = mine.Gather(k, s)  y = mine.Relu(l) }"""))
    assert made.nodes_after == made.nodes_before == 13


def test_very_old_opsets_are_hardly_touched() -> None:
    model = parsed("""(float[2, 3] x) => (float[2, 3] y) <float[2] w = {0.0, 0.0}> {
        y = Add<broadcast = 1, axis = 0>(x, w)  unread = Neg(x) }""", opset=6)
    made = optimize(model)
    assert [node.op_type for node in made.model.graph.node] == ["Add"]
    assert made.notes[0].startswith("opset 6: before 7 operators have other rules")


def test_declared_types_of_unknown_operators_are_used() -> None:
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17, "mine" : 1]>
        g (float[2, 3] x) => (float[2, 3] y) <int64[2] s = {2, 3}, float[2, 3] a> {
            a = mine.Thing(x)  b = Reshape(a, s)  y = Relu(b) }""")
    assert optimize(model).nodes_after == 2


def test_sparse_weights_are_kept() -> None:
    model = parsed("(float[4] x) => (float[4] y) { a = Identity(x)  y = Add(a, w) }")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([5.0], np.float32), "w"),
        numpy_helper.from_array(np.array([2], np.int64), "w_indices"), [4]))
    made = optimize(model, verify=True)
    assert made.nodes_after == 1 and len(made.model.graph.sparse_initializer) == 1
    assert not any("not verified" in note for note in made.notes)


def test_weights_of_nan_are_like_others() -> None:
    model = parsed("(float[2] x) => (float[2] y) { a = Neg(w)  y = Mul(x, a) }")
    model.graph.initializer.append(
        numpy_helper.from_array(np.array([np.nan, -np.inf], np.float32), "w"))
    made = optimize(model, verify=True)
    assert not any(report.undone for report in made.passes) and made.nodes_after == 1
    (weights,) = made.model.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(weights), [np.nan, np.inf])


def heavy(count: int = 3, side: int = 600) -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    weights = [numpy_helper.from_array(rng.normal(size=(side, side)).astype(np.float32), f"w{i}")
               for i in range(count)]
    nodes = [helper.make_node("Identity", ["x"], ["a0"])]
    nodes += [helper.make_node("MatMul", [f"a{i}", f"w{i}"], [f"a{i + 1}"]) for i in range(count)]
    graph = helper.make_graph(
        nodes, "heavy", [helper.make_tensor_value_info("x", 1, ["N", side])],
        [helper.make_tensor_value_info(f"a{count}", 1, ["N", side])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def same_outputs(first: Path, second: Path) -> bool:
    x = np.random.default_rng(1).normal(size=(2, 600)).astype(np.float32)
    found = [onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"]).run(
        None, {"x": x})[0] for p in (first, second)]
    return bool(np.abs(found[0]).max() > 1) and np.allclose(*found)


@pytest.fixture
def external(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "heavy.onnx"
    path.parent.mkdir()
    onnx.save(heavy(), str(path), save_as_external_data=True, location="heavy.bin")
    return path


def test_external_data_stay_where_they_are(external: Path) -> None:
    before = (external.parent / "heavy.bin").read_bytes()
    model, folder = read_model(external)
    made = optimize(model, verify=True, folder=folder)
    assert not any("not verified" in note for note in made.notes)
    target = external.with_name("optimized.onnx")
    assert write_model(made.model, target, folder) == [target]
    assert target.stat().st_size < 10_000
    assert (external.parent / "heavy.bin").read_bytes() == before
    assert same_outputs(external, target)


def test_external_data_come_along_to_another_folder(external: Path, tmp_path: Path) -> None:
    model, folder = read_model(external)
    made = optimize(model, folder=folder).model
    target = tmp_path / "out" / "m.onnx"
    assert write_model(made, target, folder) == [target]
    (external.parent / "heavy.bin").unlink()
    onnx.checker.check_model(str(target))
    assert not any(t.data_location for t in onnx.load(str(target)).graph.initializer)


def test_a_model_too_large_for_one_file_gets_a_second(external: Path, tmp_path: Path) -> None:
    model, folder = read_model(external)
    target = tmp_path / "out" / "m.onnx"
    files = write_model(model, target, folder, largest=1 << 20)
    assert sorted(target.parent.iterdir()) == sorted(files)
    assert len(files) == 2 and files[1].stat().st_size >= 3 * 600 * 600 * 4
    assert same_outputs(external, target)


def test_weights_in_memory_are_moved_out_where_they_are_too_many(tmp_path: Path) -> None:
    onnx.save(heavy(), str(tmp_path / "in.onnx"))
    files = write_model(heavy(), tmp_path / "m.onnx", largest=1 << 20)
    assert len(files) == 2 and same_outputs(tmp_path / "in.onnx", tmp_path / "m.onnx")


def test_missing_and_short_external_data_are_named(external: Path) -> None:
    data = external.parent / "heavy.bin"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InferenceError, match="'w0'"):
        read_model(external)
    model = onnx.load(str(external), load_external_data=False)
    with pytest.raises(InferenceError, match=r"heavy.bin end at byte 1000"):
        optimize(model, folder=external.parent)
    data.unlink()
    with pytest.raises(InferenceError, match=r"heavy.bin"):
        read_model(external)
    with pytest.raises(InferenceError, match="not there"):
        optimize(model, folder=external.parent)


def test_an_interrupted_write_leaves_nothing(
    external: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = read_model(external)
    out = tmp_path / "out"
    out.mkdir()
    (out / "m.onnx").write_bytes(b"old")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(model_files, "save_onnx", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_model(model, out / "m.onnx", folder, largest=1 << 20)
    assert [p.name for p in out.iterdir()] == ["m.onnx"]
    assert (out / "m.onnx").read_bytes() == b"old"
    monkeypatch.undo()
    monkeypatch.setattr(onnx_protobuf.os, "fdopen", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_model(parsed(SMALL), out / "n.onnx")
    assert [p.name for p in out.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x08"])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InferenceError, match=r"m\.onnx"):
        read_model(path)


def test_every_truncation_is_one_line(tmp_path: Path) -> None:
    whole = parsed(SMALL).SerializeToString()
    path = tmp_path / "m.onnx"
    for length in range(1, len(whole), 3):
        path.write_bytes(whole[:length])
        try:
            model, folder = read_model(path)
            optimize(model, folder=folder)
        except InferenceError as error:
            assert "\n" not in str(error)


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = parsed(SMALL).SerializeToString()
    for name in (b"Identity", b"Exp"):
        path.write_bytes(whole.replace(name, name[:-1] + b"\xff"))
        assert "no text" in refused(read_model(path).model)


def test_bytes_changed_at_random_are_one_line_or_a_model(tmp_path: Path) -> None:
    whole = parsed("""(bool c, float[N, 4] x) => (float[N, 4] y)
        <float[4] w = {1.0, 2.0, 0.0, 1.0}, int64[2] s = {-1, 4}> {
        a = Identity(x)  b = Add(a, w)  d = Reshape(b, s)
        y = If(c) <then_branch = t () => (float[N, 4] p) { p = Add(d, w) },
                   else_branch = e () => (float[N, 4] q) { q = Neg(a) }> }""").SerializeToString()
    rng = np.random.default_rng(0)
    path, optimized = tmp_path / "m.onnx", 0
    for _ in range(200):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            changed[place] = rng.choice([0, 1, 255, rng.integers(256)])
        path.write_bytes(changed)
        try:
            model, folder = read_model(path)
            optimized += optimize(model, folder=folder).nodes_after > 0
        except InferenceError as error:
            assert "\n" not in str(error)
    assert optimized > 10


def command(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(compile_command, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.output


def test_the_command_prints_the_passes_and_writes_the_model(tmp_path: Path) -> None:
    source, target = tmp_path / "in.onnx", tmp_path / "out" / "m.onnx"
    onnx.save(parsed(SMALL), str(source))
    code, text = command(source, "--out", target, "--verify")
    assert code == 0
    assert "drop_identities" in text and "3 nodes become 2" in text
    assert "outputs compared after each pass" in text
    assert len(OnnxGraph(onnx.load(str(target))).nodes) == 2


def test_a_failed_command_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    target.write_bytes(b"old")
    (tmp_path / "bad.onnx").write_bytes(b"bad")
    with pytest.raises(InferenceError, match=r"bad\.onnx"):
        command(tmp_path / "bad.onnx", "--out", target)
    with pytest.raises(InferenceError, match="no such file"):
        command(tmp_path / "none.onnx", "--out", target)
    with pytest.raises(InferenceError, match="no pass 'nothing'"):
        command(tmp_path / "bad.onnx", "--out", target, "--skip", "nothing")
    assert target.read_bytes() == b"old"


def test_a_model_of_more_than_two_gigabytes_is_rewritten_where_it_lies(tmp_path: Path) -> None:
    """Three weights in a file with holes: not one of its bytes is read or written."""
    rows = (230_000, 200_000, 170_000)  # of 1024 floats: 2.4 GB
    data = tmp_path / "large.bin"
    weights, offset = [], 0
    for number, count in enumerate(rows):
        tensor = onnx.TensorProto(
            name=f"w{number}", data_type=1, dims=[count, 1024], data_location=1)
        for key, value in (("location", data.name), ("offset", offset),
                           ("length", count * 4096)):
            tensor.external_data.add(key=key, value=str(value))
        weights.append(tensor)
        offset += count * 4096
    with data.open("wb") as file:
        file.truncate(offset)
    nodes = [helper.make_node("Identity", ["x"], ["i"])]
    nodes += [helper.make_node("Gather", [f"w{n}", "i"], [f"g{n}"]) for n in range(3)]
    nodes.append(helper.make_node("Sum", ["g0", "g1", "g2"], ["y"]))
    graph = helper.make_graph(
        nodes, "large", [helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["N"])],
        [helper.make_tensor_value_info("y", 1, ["N", 1024])], weights)
    source = tmp_path / "large.onnx"
    source.write_bytes(helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString())
    target = tmp_path / "small.onnx"
    code, text = command(source, "--out", target)
    assert code == 0 and "5 nodes become 4" in text
    assert target.stat().st_size < 2000 and data.stat().st_size == offset > 1 << 31
    onnx.checker.check_model(str(target))
