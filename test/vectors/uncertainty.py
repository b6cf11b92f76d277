"""Holds numpy's formulas to the shared vectors; prints one line and exits 0, or says what differs and exits 1."""

import json
import math
import os
import sys

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "../../client/python/src/farfield"))
import uncertainty as u  # noqa: E402  by its file: the package's own imports are not needed here

with open(os.path.join(here, "uncertainty.json"), encoding="utf-8") as file:
    v = json.load(file)
checks = 0


def near(what, found, expected):
    global checks
    checks += 1
    if not np.allclose(found, expected, rtol=1e-9, atol=1e-12, equal_nan=True):
        sys.exit(f"{what}: numpy has {found}, the vectors {expected}")


for case in v["ranks"]:
    near("rank", u.conformal_rank(1000, case["level"]), case["rank"])
for case in v["radii"]:
    found = u.value_of_rank(v["sketch"], u.conformal_rank(v["sketch"]["n"], case["level"]))
    near(f"radius at {case['level']}", found, math.inf if case["radius"] is None else case["radius"])
near("p-values", u.p_values(v["sketch"], [c["value"] for c in v["pValues"]]), [c["p"] for c in v["pValues"]])
near("groups", u.groups_of(v["groups"]["edges"], v["groups"]["features"]), v["groups"]["of"])
rows = np.array(v["rows"]).reshape(-1, 3)
near("distances", u.distances(v["reference"], rows), v["distances"])
for i, (feature, case) in enumerate(zip(v["reference"]["features"], v["drift"])):
    counts, sums = u.drift_counts(feature, rows[:, i])
    near("counts", counts, case["counts"])
    near("sums", sums, case["sums"])
    near("psi", u.psi(feature, counts), case["psi"])
    near("w1", u.wasserstein(feature, counts, sums), case["wasserstein"])
for case in v["coverage"]:
    found = u.coverage_limits(case["n"], case["m"], case["level"], case["miss"])
    near("coverage", found, [case["mean"], case["low"], case["high"]])
print(f"{checks} checks")
