"""Writes a trained checkpoint as a lean ONNX file and proves that ONNX Runtime computes what torch does.
Needs torch, onnx, onnxruntime, numpy.

The graph is written by hand rather than traced: opset 13 and ir 7 are read by every ONNX Runtime since 1.8 and by
TensorRT, a tracer of today emits neither, and there is no Shape, Gather or Slice in it to trip a compiler that wants
static shapes.

Invariants
  1. Input `patch` f4 [batch, 1, 11, 11], cleaned and min-max scaled; output `center` f4 [batch, 2], (x, y) / 11.
  2. The batch dimension is free; weights are inside the file; same checkpoint, same bytes.
  3. No file is left behind whose answers differ from torch's by more than 1e-4 px, at batch 1 or at batch 512.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

import simulate
from model import BraggNN, SLOPE

GATE_PX = 1e-4


class Graph:
    """Nodes and weights in the order in which they are added; every method returns the name of its output."""

    def __init__(self, net: BraggNN) -> None:
        self.weights = {k: v.detach().numpy().astype(np.float32) for k, v in net.state_dict().items()}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers = [numpy_helper.from_array(v, k) for k, v in self.weights.items()]

    def node(self, op: str, inputs: list[str], out: str, **attributes) -> str:
        self.nodes.append(helper.make_node(op, inputs, [out], name=out, **attributes))
        return out

    def conv(self, x: str, layer: str, out: str) -> str:
        kernel = list(self.weights[f"{layer}.weight"].shape[2:])
        return self.node("Conv", [x, f"{layer}.weight", f"{layer}.bias"], out, kernel_shape=kernel)

    def reshape(self, x: str, shape: list[int], out: str) -> str:
        self.initializers.append(numpy_helper.from_array(np.array(shape, np.int64), f"{out}.shape"))
        return self.node("Reshape", [x, f"{out}.shape"], out)

    def leaky(self, x: str) -> str:
        return self.node("LeakyRelu", [x], f"{x}_act", alpha=SLOPE)

    def turn(self, x: str, out: str) -> str:
        return self.node("Transpose", [x], out, perm=[0, 2, 1])


def build(net: BraggNN, notes: dict[str, str]) -> onnx.ModelProto:
    g = Graph(net)
    x = g.conv("patch", "conv1", "conv1_out")
    theta = g.turn(g.reshape(g.conv(x, "theta", "theta_map"), [0, 32, 81], "theta_rows"), "theta_out")
    phi = g.reshape(g.conv(x, "phi", "phi_map"), [0, 32, 81], "phi_out")
    value = g.turn(g.reshape(g.conv(x, "g", "g_map"), [0, 32, 81], "g_rows"), "g_out")
    attention = g.node("Softmax", [g.node("MatMul", [theta, phi], "scores")], "attention", axis=-1)
    mixed = g.turn(g.node("MatMul", [attention, value], "mixed_rows"), "mixed")
    block = g.conv(g.reshape(mixed, [0, 32, 9, 9], "mixed_map"), "out", "block_out")
    x = g.leaky(g.node("Add", [block, x], "residual"))
    x = g.leaky(g.conv(x, "conv2", "conv2_out"))
    x = g.leaky(g.conv(x, "conv3", "conv3_out"))
    x = g.node("Flatten", [x], "features", axis=1)
    for i in range(4):
        x = g.leaky(g.node("Gemm", [x, f"dense.{i}.weight", f"dense.{i}.bias"], f"dense{i}_out", transB=1))
    g.node("Gemm", [x, "last.weight", "last.bias"], "center", transB=1)
    graph = helper.make_graph(
        g.nodes,
        "braggnn",
        [helper.make_tensor_value_info("patch", TensorProto.FLOAT, ["batch", 1, 11, 11])],
        [helper.make_tensor_value_info("center", TensorProto.FLOAT, ["batch", 2])],
        g.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="farfield")
    model.ir_version = 7
    helper.set_model_props(model, notes)
    onnx.checker.check_model(model, full_check=True)
    return model


def apart_px(data: bytes, net: BraggNN) -> float:
    """The largest difference between ONNX Runtime and torch, over simulated peaks and uniform noise."""
    rng = np.random.default_rng(99)
    rows = np.concatenate([simulate.minmax(simulate.broad(2048, rng).patches), rng.random((512, 11, 11), np.float32)])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 512):
        for at in range(0, 64 if size == 1 else len(rows), size):
            patch = rows[at : at + size, None]
            with torch.no_grad():
                want = net(torch.from_numpy(patch)).numpy()
            worst = max(worst, float(np.abs(session.run(["center"], {"patch": patch})[0] - want).max()) * 11)
    return worst


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--checkpoint", default="braggnn.pt")
    p.add_argument("--out", default="model.onnx")
    a = p.parse_args()
    torch.set_num_threads(1)
    saved = torch.load(a.checkpoint, weights_only=True)
    net = BraggNN()
    net.load_state_dict(saved["state"])
    net.eval()
    options = saved["options"]
    model = build(
        net,
        {
            "architecture": "BraggNN fc 16-8-4-2, patch 11 (doi 10.1107/S2052252521011258), rebuilt and trained anew",
            "training": f"seed {options['seed']}, {saved['step']} steps of {options['batch']}, simulated data only",
            "licence": "Apache-2.0",
        },
    )
    data = model.SerializeToString(deterministic=True)
    apart = apart_px(data, net)
    if not apart < GATE_PX:
        raise SystemExit(f"{a.out} not written: ONNX Runtime and torch differ by {apart:.2e} px (limit {GATE_PX} px)")
    with open(f"{a.out}.tmp", "wb") as f:
        f.write(data)
    os.replace(f"{a.out}.tmp", a.out)
    print(
        json.dumps(
            {
                "file": a.out,
                "bytes": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
                "nodes": len(model.graph.node),
                "apart_px": apart,
                "step": saved["step"],
            }
        )
    )


if __name__ == "__main__":
    main()
