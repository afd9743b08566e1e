"""Do rich and poor countries follow one law of CO2 emissions, or two?

GNP and CO2 emissions per head of 28 countries in 1996 (Hurn, Justel and Robert 2003). Two lines with a spread each, the
same share of countries on both everywhere (a plain mixture of regressions), against one line for all.

    python examples/two_regimes.py path/to/CO2data.csv
"""  # noqa: D400 - it asks a question

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

import bayes_moe as bm

PLAIN = bm.SoftmaxGate(bm.Constant())


def main(path: str, out: str = "out") -> None:
    """Fit, print the verdict, and draw."""
    table = pd.read_csv(path).set_index("country")
    X, y = table[["GNP"]], table["CO2"]
    em = {k: bm.fit(bm.MixtureOfExperts(k, PLAIN), X, y, bm.EM(seed=1), progress=False) for k in (1, 2, 3)}
    print("BIC by number of lines:", {k: round(fit.bic, 1) for k, fit in em.items()})
    fit = em[2]
    print(fit.status)
    print(fit.summary().round(2).to_string())
    share = fit.responsibilities().to_pandas().set_index(table.index)
    print("\nCountries by line, the surest first:")
    for expert in share:
        sure = share[expert].sort_values(ascending=False)
        print(f"  line {expert}:", ", ".join(f"{c} ({p:.2f})" for c, p in sure[sure > 0.5].items()))
    Path(out).mkdir(exist_ok=True)
    bm.plots.responsibilities(fit).figure.savefig(Path(out) / "two_regimes.png", dpi=130)


if __name__ == "__main__":
    main(*sys.argv[1:])
