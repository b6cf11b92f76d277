"""Makes the validation set and the golden set of the model. Needs numpy, h5py; the golden set also onnxruntime.

  python dataset.py validation --out ../../models/braggnn/validation.h5
  python dataset.py golden --model ../../models/braggnn/model.onnx --out ../../models/braggnn/golden.h5

Invariants
  1. `patches` holds raw counts: cleaning and scaling are the runner's, declared in model.json, and are tested with it.
  2. The counts are whole numbers, kept as f4 like the real patches; shuffle + gzip then packs them as well as integers.
  3. Same seed and numpy give the same arrays; files carry no times, so the same HDF5 library gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os

import h5py
import numpy as np

import simulate

ROWS = 13_799  # as many as the published validation set of this task
SEED = 13_799
GOLDEN_SEED = 64
CHUNK = 512
CONVENTION = "x (column), y (row); pixel k has its centre at coordinate k; pixels of the patch"


def put(h5: h5py.File, name: str, data: np.ndarray, **attributes: str) -> None:
    chunk = (min(CHUNK, len(data)),) + data.shape[1:]
    packing = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
    d = h5.create_dataset(name, data=data, chunks=chunk, track_times=False, **packing)
    d.attrs.update(attributes)


def describe(h5: h5py.File, title: str, seed: int) -> None:
    h5.attrs.update(
        {
            "title": title,
            "seed": seed,
            "script": "containers/braggnn/dataset.py",
            "generator": f"numpy {np.__version__}, Generator(PCG64)",
            "licence": "CC-BY-4.0",
            "creator": "the Farfield authors",
        }
    )


def write(path: str, fill) -> None:
    """Writes aside and renames, so that a reader never meets half a file."""
    with h5py.File(f"{path}.tmp", "w", libver=("earliest", "v108")) as h5:
        fill(h5)
    os.replace(f"{path}.tmp", path)
    print(json.dumps({"file": path, "bytes": os.path.getsize(path)}))


def validation(path: str, rows: int, seed: int) -> None:
    peaks = simulate.c3(rows, np.random.default_rng(seed))

    def fill(h5: h5py.File) -> None:
        describe(h5, "Simulated single Bragg peaks (C3), 11 x 11 pixels, with true centres and fit-like labels", seed)
        put(
            h5,
            "patches",
            peaks.patches,
            units="counts",
            layout="[peak, row (y), column (x)]",
            processing="values under 80 counts are 0; one 8-connected component; not scaled",
        )
        put(h5, "true_xy", peaks.true_xy, units="px", order=CONVENTION, meaning="where the peak was put")
        put(
            h5,
            "peak_xy",
            peaks.peak_xy,
            units="px",
            order=CONVENTION,
            meaning="truth plus the scatter of pseudo-Voigt fits, 20 % of them bad ones: a label, not truth",
        )

    write(path, fill)


def golden_patches() -> np.ndarray:
    """64 raw patches: 32 of C3, 24 broad, 8 more of C3 with a second component that cleaning must remove."""
    rng = np.random.default_rng(GOLDEN_SEED)
    patches = np.concatenate([simulate.c3_centred(32, rng).patches, simulate.broad(24, rng).patches])
    split = simulate.c3_centred(64, rng).patches
    # A dim pair of pixels in a corner that touches nothing: dimmer than the peak, so that the peak is what stays.
    split = split[(split[:, :3, :4].sum((1, 2)) == 0) & (split.max((1, 2)) > 300)][:8].copy()
    split[:, 0, 1], split[:, 1, 0] = 120, 95
    assert len(split) == 8
    return np.concatenate([patches, split]).astype(np.float32)


def golden(path: str, model: str) -> None:
    import onnxruntime

    patches = golden_patches()
    scaled = simulate.minmax(simulate.clean(patches))[:, None]
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    centre = session.run(["center"], {"patch": scaled})[0] * np.float32(11)

    def fill(h5: h5py.File) -> None:
        describe(
            h5, "Golden rows of the BraggNN model: raw patches and the centres that the reference gives", GOLDEN_SEED
        )
        h5.attrs["reference"] = f"onnxruntime {onnxruntime.__version__}, CPU, float32"
        put(
            h5,
            "patches",
            patches,
            units="counts",
            layout="[peak, row (y), column (x)]",
            processing="raw: the last 8 rows hold a second component, which cleaning removes",
        )
        put(
            h5,
            "center",
            centre.astype(np.float32),
            units="px",
            order=CONVENTION,
            meaning="after cleaning, scaling, x 11",
        )

    write(path, fill)


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("what", choices=["validation", "golden"])
    p.add_argument("--out", required=True)
    p.add_argument("--model", default="model.onnx")
    p.add_argument("--rows", type=int, default=ROWS)
    p.add_argument("--seed", type=int, default=SEED)
    a = p.parse_args()
    if a.what == "validation":
        validation(a.out, a.rows, a.seed)
    else:
        golden(a.out, a.model)


if __name__ == "__main__":
    main()
