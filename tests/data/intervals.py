#!/usr/bin/env python3
"""Quantiles and intervals by NumPy and SciPy, for tests/statistics.rs to agree with.

    pip install numpy scipy && python3 tests/data/intervals.py > tests/data/intervals.json

Nothing is drawn at random: k blocks can be resampled in k**k ways, and all of them are taken.
"""

import itertools
import json

import numpy as np
import scipy
from scipy import stats

# Samples by block: times with outliers, drift from block to block, blocks of unequal size, counts with a zero.
DATA = {
    "three blocks": [[71, 74, 69, 180, 72, 70], [91, 88, 95, 90, 310, 89], [80, 83, 79, 81, 95, 78]],
    "three blocks, slower": [[150, 149, 151, 160, 148, 155], [190, 185, 201, 188, 187, 240], [166, 170, 165, 171, 169, 167]],
    "five blocks": [[1000 + 37 * b + (13 * s * s + 7 * b * s) % 101 for s in range(12)] for b in (3, 0, 4, 1, 2)],
    "five blocks, faster": [[400 + 15 * b + (17 * s * s + 5 * b * s) % 67 for s in range(12)] for b in (3, 0, 4, 1, 2)],
    "unequal": [[10, 12, 11, 13, 12, 11, 14, 10], [20, 22], [15], [12, 18, 16, 17, 15]],
    "zero": [[0, 0, 1], [2, 3, 2], [4, 5, 9]],
}
RATIOS = [("three blocks, slower", "three blocks"), ("five blocks, faster", "five blocks")]
CONFIDENCE = 0.95


def pooled(blocks):
    return np.concatenate([np.asarray(block) for block in blocks])


def median(blocks):
    return float(np.median(pooled(blocks)))


def every_resample(of, k):
    return np.array([of(drawn) for drawn in itertools.product(range(k), repeat=k)])


def interval(estimate, replicates, k):
    factor = stats.t.ppf(1 - (1 - CONFIDENCE) / 2, k - 1) * np.sqrt(k / (k - 1))
    if estimate > 0 and (replicates > 0).all():
        half = factor * np.log(replicates).std()
        return [estimate * np.exp(-half), estimate * np.exp(half)]
    half = factor * replicates.std()
    return [max(0.0, estimate - half), estimate + half]


result = {
    "numpy": np.__version__,
    "scipy": scipy.__version__,
    "student_t": {str(f): float(stats.t.ppf(1 - (1 - CONFIDENCE) / 2, f)) for f in (1, 2, 3, 4, 6, 9, 29)},
    "data": {},
    "ratios": [],
}
for name, blocks in DATA.items():
    k = len(blocks)
    replicates = every_resample(lambda drawn: median([blocks[i] for i in drawn]), k)
    result["data"][name] = {
        "blocks": blocks,
        "quantiles": {str(p): float(np.quantile(pooled(blocks), p)) for p in (0.0, 0.1, 0.5, 0.9, 0.99, 1.0)},
        "interval": [float(bound) for bound in interval(median(blocks), replicates, k)],
    }
for subject, base in RATIOS:
    s, b = DATA[subject], DATA[base]

    def ratio(drawn):
        return median([s[i] for i in drawn]) / median([b[i] for i in drawn])

    k = len(s)
    estimate = median(s) / median(b)
    bounds = interval(estimate, every_resample(ratio, k), k)
    result["ratios"].append({"subject": subject, "base": base, "ratio": estimate, "interval": [float(x) for x in bounds]})
print(json.dumps(result, indent=1))
