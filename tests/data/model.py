#!/usr/bin/env python3
"""The cost model's coefficients and intervals by statsmodels, for tests/statistics.rs to agree with.

    pip install numpy scipy statsmodels && python3 tests/data/model.py > tests/data/model.json

The estimator is statsmodels' own RLM (Huber's T, scale by the median absolute deviation about 0), applied to relative errors: rows and times
divided by the prediction, until the prediction no longer changes. Nothing is drawn at random for the intervals: k blocks can be resampled
in (2k - 1 over k) ways that differ, and all of them are taken, each as often as it comes up.
"""

import itertools
import json
import math
import warnings
from collections import Counter

import numpy as np
import scipy
import statsmodels
import statsmodels.api as sm
from scipy import stats

warnings.simplefilter("ignore")
DEPTHS = [1, 8, 40, 120]
SIZES = [4096, 65536, 1 << 20, 8 << 20]
BLOCKS = 5
CONFIDENCE = 0.95


def grid(law, seed, spoil=lambda block, depth, size: 1.0):
    rng = np.random.default_rng(seed)
    return [
        (depth, size, block, round(law(depth, size) * rng.normal(1, 0.04) * spoil(block, depth, size)))
        for block in range(1, BLOCKS + 1)
        for depth in DEPTHS
        for size in SIZES
    ]


def additive(depth, size):
    return 60_000 + 700 * depth + 0.4 * size


def compounded(depth, size):
    return additive(depth, size) + 0.0005 * depth * size


def bent(depth, size):
    return 60_000 + 700 * depth + 8 * size**0.8


def outlier(block, depth, size):
    return 20.0 if (block, depth, size) == (2, 40, 65536) else 1.0


GRIDS = {
    "additive": grid(additive, 1),
    "compounded": grid(compounded, 2),
    "bent": grid(bent, 3),
    "one gross outlier": grid(additive, 4, outlier),
    "a block twice as slow": grid(additive, 5, lambda block, depth, size: 2.0 if block == 3 else 1.0),
}
SCALE = np.array([1.0, max(DEPTHS), max(SIZES), max(DEPTHS) * max(SIZES)])


def fit(points):
    depth, size, ns = (np.array([p[i] for p in points], dtype=float) for i in (0, 1, 3))
    rows = np.column_stack([np.ones_like(depth), depth, size, depth * size]) / SCALE
    predicted, last = ns, None
    for _ in range(200):
        found = sm.RLM(ns / predicted, rows / predicted[:, None], M=sm.robust.norms.HuberT(1.345)).fit(
            scale_est="mad", maxiter=300, tol=1e-12
        ).params
        if last is not None and np.allclose(found, last, rtol=1e-9, atol=0):
            break
        last, predicted = found, np.maximum(rows @ found, ns / 4)
    return found


def describe(points):
    found = fit(points)
    draws = Counter(tuple(sorted(d)) for d in itertools.product(range(1, BLOCKS + 1), repeat=BLOCKS))
    replicates, weights = [], []
    for drawn, often in draws.items():
        of_block = {block: [p for p in points if p[2] == block] for block in range(1, BLOCKS + 1)}
        replicates.append(fit([p for block in drawn for p in of_block[block]]))
        weights.append(often)
    replicates, weights = np.array(replicates), np.array(weights, dtype=float)
    half = stats.t.ppf(1 - (1 - CONFIDENCE) / 2, BLOCKS - 1) * math.sqrt(BLOCKS / (BLOCKS - 1))

    def spread(values):
        mean = np.average(values, weights=weights)
        return half * math.sqrt(np.average((values - mean) ** 2, weights=weights))

    log = lambda c: np.log(c.sum(axis=-1) / c[..., :3].sum(axis=-1))
    ratio, about = float(log(found)), spread(log(replicates))
    names = ["fixed_ns", "layer_ns", "byte_ns", "layer_byte_ns"]
    return {
        "points": points,
        "coefficients": dict(zip(names, (found / SCALE).tolist())),
        "half_widths": dict(zip(names, [spread(replicates[:, i]) / SCALE[i] for i in range(4)])),
        "compounding": {"ratio": math.exp(ratio), "low": math.exp(ratio - about), "high": math.exp(ratio + about)},
    }


result = {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__}
result["models"] = {name: describe(points) for name, points in GRIDS.items()}
print(json.dumps(result))
