"""Makes the labelled sets and the golden set of the model. Needs numpy, h5py; the golden set also onnxruntime.

  python dataset.py validation --out ../../models/spectra/validation.h5
  python dataset.py calibration --out calibration.h5
  python dataset.py golden --model ../../models/spectra/model.onnx --out ../../models/spectra/golden.h5
  python dataset.py unknown_element --out unknown.h5         (or another scenario of simulate.py)

Invariants
  1. `spectra` holds raw counts as u2: scaling is the runner's, declared in model.json, and is tested with it.
  2. Validation, calibration, golden and training rows come from different seeds: no row is in two of them.
  3. Same seed and numpy give the same arrays; files carry no times, so the same HDF5 library gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os

import h5py
import numpy as np

import simulate

SEEDS = {"validation": 20_001, "calibration": 20_002, "golden": 20_003}
ROWS = {"validation": 1_500, "calibration": 6_000, "golden": 48}
CHUNK = 250


def put(h5: h5py.File, name: str, data: np.ndarray, **attributes: str) -> None:
    chunk = (min(CHUNK, len(data)),) + data.shape[1:]
    packing = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
    d = h5.create_dataset(name, data=data, chunks=chunk, track_times=False, **packing)
    d.attrs.update(attributes)


def write(path: str, title: str, seed: int, arrays: dict[str, tuple[np.ndarray, dict[str, str]]], **more: str) -> None:
    """Writes aside and renames, so that a reader never meets half a file."""
    with h5py.File(f"{path}.tmp", "w", libver=("earliest", "v108")) as h5:
        h5.attrs.update(
            {
                "title": title,
                "seed": seed,
                "script": "containers/spectra/dataset.py",
                "generator": f"numpy {np.__version__}, Generator(PCG64)",
                "licence": "CC-BY-4.0",
                "creator": "the Farfield authors",
                **more,
            }
        )
        for name, (data, attributes) in arrays.items():
            put(h5, name, data, **attributes)
    os.replace(f"{path}.tmp", path)
    print(json.dumps({"file": path, "bytes": os.path.getsize(path)}))


def counts_of(counts: np.ndarray) -> tuple[np.ndarray, dict[str, str]]:
    energies = f"channel k holds {simulate.START} keV + {simulate.WIDTH * 1000:.0f} eV x [k, k + 1), nominally"
    return counts, {"units": "counts", "layout": "[spectrum, channel]", "energies": energies}


def labelled(path: str, what: str, rows: int, seed: int) -> None:
    domain = simulate.SCENARIOS.get(what, simulate.USUAL)
    made = simulate.spectra(rows, np.random.default_rng(seed), domain)
    names = ",".join(simulate.CLASSES)
    label = {"meaning": "the element with the most K alpha photons; truth, not a fit", "classes": names}
    write(
        path,
        f"Simulated X-ray fluorescence spectra with their main element: {what}",
        seed,
        {
            "spectra": counts_of(made.counts),
            "label": (made.label, label),
            "amounts": (made.amounts, {"meaning": "K alpha photons of each class, as parts of their sum"}),
        },
    )


def golden(path: str, model: str, rows: int, seed: int) -> None:
    import onnxruntime

    counts = simulate.spectra(rows, np.random.default_rng(seed)).counts
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    answer = session.run(["probability"], {"spectrum": simulate.minmax(counts)[:, None]})[0]
    write(
        path,
        "Golden rows of the spectra model: raw counts and the probabilities that the reference gives",
        seed,
        {
            "spectra": counts_of(counts),
            "probability": (answer.astype(np.float32), {"classes": ",".join(simulate.CLASSES)}),
        },
        reference=f"onnxruntime {onnxruntime.__version__}, CPU, float32",
    )


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("what", choices=[*SEEDS, *simulate.SCENARIOS])
    p.add_argument("--out", required=True)
    p.add_argument("--model", default="model.onnx")
    p.add_argument("--rows", type=int)
    p.add_argument("--seed", type=int)
    a = p.parse_args()
    rows = a.rows or ROWS.get(a.what, ROWS["validation"])
    seed = a.seed or SEEDS.get(a.what, 30_000 + [*SEEDS, *simulate.SCENARIOS].index(a.what))
    if a.what == "golden":
        golden(a.out, a.model, rows, seed)
    else:
        labelled(a.out, a.what, rows, seed)


if __name__ == "__main__":
    main()
