"""The bugs: what is changed, and which tests are asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bug:
    """One wrong line.

    Parameters
    ----------
    name
        What is wrong.
    file
        In the package.
    right, wrong
        A text that stands there once, and what it becomes.
    tests
        Files that should notice.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: tuple[str, ...]


DENSITY = ("tests/binding/test_density.py",)
EVERY = ("tests/test_every_model.py",)
FIT = ("tests/posterior/test_fit.py",)
INVARIANCES = ("tests/binding/test_invariances.py",)
NUTS = ("tests/inference/test_nuts.py",)
KERNELS, GENERAL, CHUNKS = "graph/kernels.py", "binding/general.py", "binding/chunks.py"
TREE, STICKS, SAMPLER = "gates/tree.py", "gates/stick_breaking.py", "inference/sampler.py"

BUGS = (
    Bug(
        "log sigma dropped from the normal density",
        KERNELS,
        """                inverse_sigma[k, b] = inverse
                joint[k, b] = eta[k, b] - s - 0.5 * z * z
        else:""",
        """                inverse_sigma[k, b] = inverse
                joint[k, b] = eta[k, b] - 0.5 * z * z
        else:""",
        DENSITY,
    ),
    Bug(
        "sigma squared in place of sigma",
        KERNELS,
        """        if constant:
            s = log_sigma[k]
            inverse = exp(-s)""",
        """        if constant:
            s = log_sigma[k]
            inverse = exp(-2.0 * s)""",
        DENSITY,
    ),
    Bug(
        "unit of y missing in the density",
        "binding/density.py",
        "return float(prior - self.weights @ self.log_units)",
        "return float(prior)",
        DENSITY,
    ),
    Bug(
        "softmax over rows in place of experts",
        "gates/normalised.py",
        "    return np.asarray(shifted - np.log(totals(np.exp(shifted)))[:, None])",
        "    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=0)))",
        FIT,
    ),
    Bug(
        "gate and expert of another index",
        KERNELS,
        """                eta[experts + k, b] = z
                inverse_sigma[k, b] = inverse
                joint[k, b] = eta[k, b] - s - 0.5 * z * z
        else:""",
        """                eta[experts + k, b] = z
                inverse_sigma[k, b] = inverse
                joint[k, b] = eta[(k + 1) % experts, b] - s - 0.5 * z * z
        else:""",
        DENSITY,
    ),
    Bug(
        "last expert ignored",
        KERNELS,
        """    for k in range(experts):
        for b in range(rows):
            weight = exp(joint[k, b] - top[b])""",
        """    for k in range(max(1, experts - 1)):
        for b in range(rows):
            weight = exp(joint[k, b] - top[b])""",
        DENSITY,
    ),
    Bug(
        "prior counted twice",
        GENERAL,
        "return float(value + prior + self.offset), self.parameters.pull_back(q, scores) + slope",
        "return float(value + 2 * prior + self.offset), self.parameters.pull_back(q, scores) + 2 * slope",
        EVERY,
    ),
    Bug(
        "prior left out",
        GENERAL,
        "return float(value + prior + self.offset), self.parameters.pull_back(q, scores) + slope",
        "return float(value + self.offset), self.parameters.pull_back(q, scores)",
        EVERY,
    ),
    Bug(
        "half of the rows ignored",
        GENERAL,
        "            rows = slice(start, start + _CHUNK)\n",
        "            rows = slice(start, start + len(self.table) // 2)\n",
        EVERY,
    ),
    Bug(
        "weights ignored",
        CHUNKS,
        "both = responsibilities * self.weights[:, None]",
        "both = responsibilities * 1.0",
        EVERY,
    ),
    Bug(
        "weights squared",
        "binding/rows.py",
        "_blocked(weights[:, None], blocks, rows)",
        "_blocked(weights[:, None] ** 2, blocks, rows)",
        (*DENSITY, *INVARIANCES),
    ),
    Bug(
        "sign of the gate's logits",
        "posterior/draws.py",
        "log_gate = _log_gate(parameters.gate, eta[:, :, : parameters.gate.predictors])",
        "log_gate = _log_gate(parameters.gate, -eta[:, :, : parameters.gate.predictors])",
        FIT,
    ),
    Bug(
        "standardisation not undone in predictions",
        "posterior/draws.py",
        "predicted = center + scale * predicted",
        "predicted = 1.0 * predicted",
        FIT,
    ),
    Bug(
        "new rows scaled by themselves",
        "binding/design.py",
        "standardised = self.scaling.standardise_x(table)\n        out = np.ones",
        "standardised = self.scaling.standardise_x(table)\n"
        "        standardised = standardised - standardised.mean(axis=0)\n        out = np.ones",
        FIT,
    ),
    Bug(
        "predictions are of the training rows",
        "posterior/draws.py",
        "    design = bound.design.matrix(table)\n",
        "    design = bound.design.matrix(np.resize(np.asarray(bound.data.table.values), table.shape))\n",
        FIT,
    ),
    Bug(
        "another inner gate of a tree",
        TREE,
        "            out[branch, list(leaves_of(child))] = 1.0",
        "            out[branch, [-1 - leaf for leaf in leaves_of(child)]] = 1.0",
        ("tests/gates/test_tree.py", *EVERY),
    ),
    Bug(
        "order of sticks reversed",
        STICKS,
        "        out[:, 1:] -= np.logaddexp(0.0, eta).cumsum(axis=1)\n        return out",
        "        out[:, 1:] -= np.logaddexp(0.0, eta).cumsum(axis=1)\n        return out[:, ::-1]",
        ("tests/gates/test_stick_breaking.py", *EVERY),
    ),
    Bug(
        "what the last stick leaves is lost",
        STICKS,
        "        out[:, 1:] -= np.logaddexp(0.0, eta).cumsum(axis=1)\n        return out",
        "        out[:, 1:] -= np.logaddexp(0.0, eta).cumsum(axis=1)\n        out[:, -1] = -np.inf\n        return out",
        ("tests/gates/test_stick_breaking.py", *EVERY),
    ),
    Bug(
        "maximum in place of logsumexp",
        "gates/normalised.py",
        "        value = safe + np.log(total)\n",
        "        value = safe + 0.0 * np.log(total)\n",
        EVERY,
    ),
    Bug(
        "relabelling inverted",
        "posterior/relabel.py",
        "    return np.take_along_axis(values, permutations.reshape(shape), axis=axis)",
        "    return np.take_along_axis(values, permutations.argsort(axis=1).reshape(shape), axis=axis)",
        ("tests/posterior/test_relabel.py", "tests/posterior/test_planted_faults.py"),
    ),
    Bug(
        "the second chain repeats the first",
        SAMPLER,
        "    draws = np.stack([chain.reshape(-1, size)[span] for chain in flat])",
        "    draws = np.stack([chain.reshape(-1, size)[span] for chain in flat[:1] * len(flat)])",
        NUTS,
    ),
    Bug(
        "seed ignored",
        SAMPLER,
        "            seed=plan.seed % 2**63,",
        "            seed=int(np.random.default_rng().integers(2**31)),",
        NUTS,
    ),
    Bug(
        "draws of chains that were cut are kept",
        SAMPLER,
        '        lengths -= [_trailing(pa.array(s.column("diverging")).to_numpy(zero_copy_only=False)) for s in stats]',
        "        lengths -= 0",
        NUTS,
    ),
    Bug(
        "warm-up counted among the draws",
        SAMPLER,
        "    span = slice(plan.tune, plan.tune + length)",
        "    span = slice(0, length)",
        NUTS,
    ),
)
