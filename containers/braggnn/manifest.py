"""Writes model.json: what the model takes, gives, and must be checked against. Needs the Python standard library alone.

  python manifest.py --models ../../models/braggnn --version 0.1.0

Invariants
  1. Digests are measured from the files beside it; run it last, after export.py and dataset.py golden.
  2. `pre` and `post` are lists of steps in the order in which a runner applies them; whatever is peculiar to peaks is
     said here, so that a runner needs to know the steps and not the model.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os

DESCRIPTION = "Centre of a single diffraction peak in an 11 x 11 pixel patch of raw counts."


def sha256(path: str) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def manifest(folder: str, name: str, version: str, description: str) -> dict:
    calibrated = os.path.exists(os.path.join(folder, "calibration.json"))
    validated = os.path.exists(os.path.join(folder, "validation.h5"))
    file = lambda name: {"file": name, "sha256": sha256(os.path.join(folder, name))}
    return {
        "v": 1,
        "name": name,
        "version": version,
        "title": "Centre of a diffraction peak",
        "description": description,
        "licence": "Apache-2.0",
        "inputs": [
            {
                "name": "patch",
                "arg": "patches",
                "datatype": "FP32",
                "shape": [-1, 1, 11, 11],
                "dataset": "/patches",
                "units": "counts",
            }
        ],
        # Bounds: the outer edges of the outer pixels. A centre beyond them is not in the patch.
        "outputs": [{"name": "center", "datatype": "FP32", "shape": [-1, 2], "bounds": [[-0.5, 10.5], [-0.5, 10.5]]}],
        "batch": {"axis": 0, "max": 512, "preferred": [128]},
        # Counts of a whole patch: zero all but the 8-connected component of the brightest pixel, then scale to 0..1.
        "pre": [{"op": "keep_component", "connectivity": 8, "seed": "brightest"}, {"op": "minmax_per_sample"}],
        # The net answers in parts of the patch; x is the column; pixel k has its centre at k, so a mirror is 10 - x.
        "post": [{"op": "scale", "factor": 11, "order": ["x", "y"], "units": "px", "reflect": "index"}],
        "variants": [{"platform": "onnx_onnxv1", **file("model.onnx"), "precision": "FP32"}],
        "golden": {**file("golden.h5"), "in": "/patches", "out": "/center", "maxPx": 0.01},
        # A further member is scored on the first one's set and has none of its own.
        **({"validation": {**file("validation.h5"), "in": "/patches", "truth": "/true_xy"}} if validated else {}),
        # Lower edges: 3-5, 6-11, 12-24, 25 and more pixels above zero after `keep_component`. Fewer than 3: no group.
        "groups": {"by": "lit_pixels", "edges": [3, 6, 12, 25]},
        # Scored by the distance to the true centre; inputs are held against the calibration's by these features of the raw
        # patch. A symmetry of the square moves the centre with the patch. `farfield model calibrate` makes the file.
        "uncertainty": {
            "score": "l2",
            "features": [
                "log_total", "log_max", "log_least", "log_lit", "concentration", "width", "border", "log_components",
            ],
            "saturation": 14_400,
            "symmetries": {"group": "square", "answer": "point"},
            **({"calibration": file("calibration.json")} if calibrated else {}),
        },
        "baselines": ["centre_of_mass"],
        "view": {"row": "peak", "rows": "peaks", "sample": "image", "answer": "point"},
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--models", required=True)
    p.add_argument("--version", required=True)
    p.add_argument("--name", default="bragg-nn")
    p.add_argument("--description", default=DESCRIPTION)
    a = p.parse_args()
    path = os.path.join(a.models, "model.json")
    text = json.dumps(manifest(a.models, a.name, a.version, a.description), indent=2)
    with open(f"{path}.tmp", "w") as f:
        f.write(text + "\n")
    os.replace(f"{path}.tmp", path)
    print(text)


if __name__ == "__main__":
    main()
