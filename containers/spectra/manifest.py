"""Writes model.json: what the model takes, gives, and must be checked against. Needs the Python standard library and
simulate.py (numpy).

  python manifest.py --models ../../models/spectra --version 0.1.0

Digests are measured from the files beside it: run it last, after export.py and dataset.py. Everything that a runner or a
picture needs to know of spectra is said here, so that neither holds code for them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os

from simulate import CHANNELS, CLASSES, START, WIDTH


def sha256(path: str) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def manifest(folder: str, version: str) -> dict:
    file = lambda name: {"file": name, "sha256": sha256(os.path.join(folder, name))}
    energy = {"name": "energy", "units": "keV", "from": START, "to": round(START + CHANNELS * WIDTH, 6)}
    calibrated = os.path.exists(os.path.join(folder, "calibration.json"))
    return {
        "v": 1,
        "name": "spectra",
        "version": version,
        "title": "Main element of an X-ray fluorescence spectrum",
        "description": "Which of six metals gives the most light in an X-ray fluorescence spectrum of 512 channels.",
        "licence": "Apache-2.0",
        "inputs": [
            {
                "name": "spectrum",
                "arg": "spectra",
                "datatype": "FP32",
                "shape": [-1, 1, CHANNELS],
                "dataset": "/spectra",
                "units": "counts",
            }
        ],
        "outputs": [
            {
                "name": "probability",
                "datatype": "FP32",
                "shape": [-1, len(CLASSES)],
                "bounds": [[0, 1]] * len(CLASSES),
                "classes": list(CLASSES),
            }
        ],
        "batch": {"axis": 0, "max": 512, "preferred": [64]},
        # The graph takes the square root itself.
        "pre": [{"op": "minmax_per_sample"}],
        "post": [],
        "variants": [{"platform": "onnx_onnxv1", **file("model.onnx"), "precision": "FP32"}],
        "golden": {**file("golden.h5"), "in": "/spectra", "out": "/probability", "maxDistance": 0.001},
        "validation": {**file("validation.h5"), "in": "/spectra", "truth": "/label"},
        # Lower edges in counts: a spectrum of few photons tells little, whatever the model.
        "groups": {"by": "total", "edges": [0, 300, 1000, 3000]},
        "uncertainty": {
            "score": "class_probability",
            "features": ["log_total", "log_max", "log_lit", "concentration", "width", "offset", "roughness"],
            **({"calibration": file("calibration.json")} if calibrated else {}),
        },
        "view": {"row": "spectrum", "rows": "spectra", "sample": "curve", "axis": energy},
    }


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("--models", required=True)
    p.add_argument("--version", required=True)
    a = p.parse_args()
    path = os.path.join(a.models, "model.json")
    text = json.dumps(manifest(a.models, a.version), indent=2)
    with open(f"{path}.tmp", "w") as f:
        f.write(text + "\n")
    os.replace(f"{path}.tmp", path)
    print(text)


if __name__ == "__main__":
    main()
