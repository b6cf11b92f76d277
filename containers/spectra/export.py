"""Writes a trained checkpoint as a lean ONNX file and proves that ONNX Runtime computes what torch does.
Needs torch, onnx, onnxruntime, numpy.

Written node by node rather than traced: opset 13 and ir 7 are read by every ONNX Runtime since 1.8 and by TensorRT, and
there is no Shape, Gather or Slice in it to trip a compiler that wants static shapes.

Invariants
  1. Input `spectrum` f4 [batch, 1, 512], scaled to 0..1; output `probability` f4 [batch, 6], whose rows add up to 1.
  2. The batch dimension is free; weights are inside the file; same checkpoint, same bytes.
  3. No file is left behind whose probabilities differ from torch's by more than 1e-5, at batch 1 or at batch 512.
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
from model import CHANNELS, CONVS, SpectrumNet

GATE = 1e-5


def build(net: SpectrumNet, notes: dict[str, str]) -> onnx.ModelProto:
    weights = {k: v.detach().numpy().astype(np.float32) for k, v in net.state_dict().items()}
    nodes = [helper.make_node("Sqrt", ["spectrum"], ["amplitude"], name="amplitude")]
    x = "amplitude"
    for i, (_, _, kernel) in enumerate(CONVS):
        inputs = [x, f"convs.{i}.weight", f"convs.{i}.bias"]
        pads = [kernel // 2, kernel // 2]
        nodes.append(helper.make_node("Conv", inputs, [f"conv{i}"], kernel_shape=[kernel], strides=[2], pads=pads))
        nodes.append(helper.make_node("Relu", [f"conv{i}"], [f"conv{i}_act"]))
        x = f"conv{i}_act"
    nodes.append(helper.make_node("Flatten", [x], ["features"], axis=1))
    nodes.append(helper.make_node("Gemm", ["features", "hidden.weight", "hidden.bias"], ["hidden"], transB=1))
    nodes.append(helper.make_node("Relu", ["hidden"], ["hidden_act"]))
    nodes.append(helper.make_node("Gemm", ["hidden_act", "last.weight", "last.bias"], ["logits"], transB=1))
    nodes.append(helper.make_node("Softmax", ["logits"], ["probability"], axis=-1))
    graph = helper.make_graph(
        nodes,
        "spectra",
        [helper.make_tensor_value_info("spectrum", TensorProto.FLOAT, ["batch", 1, CHANNELS])],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", len(simulate.CLASSES)])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], producer_name="farfield")
    model.ir_version = 7
    helper.set_model_props(model, notes)
    onnx.checker.check_model(model, full_check=True)
    return model


def apart(data: bytes, net: SpectrumNet) -> float:
    """The largest difference between ONNX Runtime and torch, over simulated spectra and uniform noise."""
    rng = np.random.default_rng(99)
    rows = np.concatenate([simulate.minmax(simulate.spectra(2048, rng).counts), rng.random((512, CHANNELS), np.float32)])
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 512):
        for at in range(0, 64 if size == 1 else len(rows), size):
            x = rows[at : at + size, None]
            with torch.no_grad():
                want = net(torch.from_numpy(x)).softmax(1).numpy()
            worst = max(worst, float(np.abs(session.run(["probability"], {"spectrum": x})[0] - want).max()))
    return worst


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--checkpoint", default="spectra.pt")
    p.add_argument("--out", default="model.onnx")
    a = p.parse_args()
    torch.set_num_threads(1)
    saved = torch.load(a.checkpoint, weights_only=True)
    net = SpectrumNet(len(simulate.CLASSES))
    net.load_state_dict(saved["state"])
    net.eval()
    options = saved["options"]
    notes = {
        "architecture": "four strided convolutions, two dense layers, softmax",
        "training": f"seed {options['seed']}, {saved['step']} steps of {options['batch']}, simulated data only",
        "licence": "Apache-2.0",
    }
    data = build(net, notes).SerializeToString(deterministic=True)
    worst = apart(data, net)
    if not worst < GATE:
        raise SystemExit(f"{a.out} not written: ONNX Runtime and torch differ by {worst:.2e} (limit {GATE})")
    with open(f"{a.out}.tmp", "wb") as f:
        f.write(data)
    os.replace(f"{a.out}.tmp", a.out)
    digest = hashlib.sha256(data).hexdigest()
    print(json.dumps({"file": a.out, "bytes": len(data), "sha256": digest, "apart": worst, "step": saved["step"]}))


if __name__ == "__main__":
    main()
