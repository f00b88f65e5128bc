#!/usr/bin/python3
"""Write the fixtures beside this file with scipy: ./gen.py (Debian: python3-scipy).

They are what another implementation gives: quantiles and chances of Student's t,
intervals of log-ratios with the pooled variance, also inside blocks, and Holm's adjustment, here by
its definition as a closed test with Bonferroni's for every subset.
"""
import itertools
import json
import pathlib

import numpy as np
import scipy
from scipy import optimize, stats

HERE = pathlib.Path(__file__).parent


def write(name, rows):
    head = {"scipy": scipy.__version__, "rows": rows}
    (HERE / name).write_text(json.dumps(head, indent=1) + "\n")


def quantile(p, df):
    """As stats.t.ppf, which holds only nine digits in scipy 1.10."""
    u = min(p, 1 - p)
    t = optimize.brentq(lambda t: stats.t.sf(t, df) - u, 0, 1e6, xtol=1e-16, rtol=1e-15)
    return float(np.copysign(t, p - 0.5))


def student():
    rows = []
    for df in [1, 2, 3, 4, 5, 7, 10, 18, 30, 98.5, 1000, 100000]:
        for p in [1e-6, 0.001, 0.025, 0.05, 0.3, 0.499999, 0.5, 0.5000001, 0.7, 0.9, 0.975, 0.995, 0.9999]:
            rows.append({"df": df, "p": p, "t": quantile(p, df)})
        for t in [-50.0, -3.5, -1.0, -1e-9, 0.0, 1e-9, 0.1, 1.0, 2.5, 4.0, 12.0, 80.0]:
            rows.append({"df": df, "t": t, "p": stats.t.cdf(t, df)})
    write("student.json", rows)


def intervals():
    rng = np.random.default_rng(504)
    rows = []
    for na, nb in [(2, 1), (1, 2), (2, 2), (3, 3), (3, 5), (5, 5), (8, 4), (20, 20)]:
        for ratio, noise, level in [(1.0, 0.02, 0.95), (1.04, 0.01, 0.95), (1.5, 0.2, 0.99), (0.4, 0.1, 0.9)]:
            a = 600 * np.exp(rng.normal(0, noise, na))
            b = 600 * ratio * np.exp(rng.normal(0, noise, nb))
            # The slope of the regression on "is B" is the difference of the means,
            # and its error that of the pooled variance; one run of a side will do.
            fit = stats.linregress([0] * na + [1] * nb, np.log(np.concatenate([a, b])))
            half = quantile((1 + level) / 2, na + nb - 2) * fit.stderr
            rows.append({
                "a": a.tolist(), "b": b.tolist(), "alpha": round(1 - level, 6), "p": float(fit.pvalue),
                "low": float(np.exp(fit.slope - half)), "high": float(np.exp(fit.slope + half)),
                "value": float(np.exp(fit.slope)),
            })
    write("interval.json", rows)


def blocks():
    """Runs on several machines: ordinary least squares with a level for each."""
    rng = np.random.default_rng(1935)
    rows = []
    for design in [[(2, 1), (1, 1)], [(3, 3), (3, 3)], [(2, 1), (1, 3), (2, 0)], [(0, 2), (4, 1), (1, 5), (2, 2)], [(1, 1), (1, 1), (1, 1)]]:
        for ratio, noise, level in [(1.0, 0.02, 0.95), (1.3, 0.1, 0.99)]:
            names, sides, values = [], [], []
            for k, (na, nb) in enumerate(design):
                pace = 100 * np.exp(rng.normal(0, 1))
                for side, n in enumerate((na, nb)):
                    for _ in range(n):
                        names.append("m%d" % k)
                        sides.append(side)
                        values.append(float(pace * ratio**side * np.exp(rng.normal(0, noise))))
            x = np.array([[float(n == "m%d" % k) for k in range(len(design))] + [s] for n, s in zip(names, sides)])
            y = np.log(values)
            beta, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
            df = len(y) - rank
            error = np.sqrt(((y - x @ beta) ** 2).sum() / df * np.linalg.inv(x.T @ x)[-1, -1])
            half = quantile((1 + level) / 2, df) * error
            rows.append({
                "blocks": names, "sides": sides, "values": values, "alpha": round(1 - level, 6),
                "p": float(2 * stats.t.sf(abs(beta[-1]) / error, df)), "low": float(np.exp(beta[-1] - half)),
                "value": float(np.exp(beta[-1])), "high": float(np.exp(beta[-1] + half)),
            })
    write("blocks.json", rows)


def holm():
    rng = np.random.default_rng(1979)
    families = [[0.01, 0.04, 0.03, 0.005], [0.02], [0.5, 0.5, 0.5], [0.0, 1.0, 0.04]]
    families += [(rng.random(n) ** 4).tolist() for n in [2, 3, 5, 8, 10]]
    rows = []
    for p in families:
        ids = range(len(p))
        subsets = [s for n in ids for s in itertools.combinations(ids, n + 1)]
        adjusted = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets if i in s) for i in ids]
        rows.append({"p": p, "adjusted": adjusted})
    write("holm.json", rows)


student()
intervals()
blocks()
holm()
