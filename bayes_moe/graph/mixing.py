r"""The one operation that joins a gate and experts.

.. math:: \ell_i = \log\sum_k e^{G_{ik} + F_{ik}} - \log\sum_k e^{G_{ik}}, \qquad
          \frac{\partial \ell_i}{\partial F_{ik}} = r_{ik}, \qquad
          \frac{\partial \ell_i}{\partial G_{ik}} = r_{ik} - g_{ik}

with unnormalised log weights G, log densities F, responsibilities r and gate probabilities g (Fisher's
identity). One pass over the rows yields the value and its gradient; derivatives of r and g are ordinary
graphs of r and g, so that Hessians are right too. Everything is done in log space: gradients stay finite at
log weights of ±800. An expert with log density -inf has responsibility 0; a row where all have it has density
-inf and zero gradient (its r and g are 0); NaN in a row gives NaN in that row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.compile.mode import optdb
from pytensor.gradient import DisconnectedType, disconnected_type, grad
from pytensor.graph.basic import Apply, Variable
from pytensor.graph.fg import FunctionGraph
from pytensor.graph.replace import graph_replace
from pytensor.graph.rewriting.basic import GraphRewriter, dfs_rewriter, node_rewriter
from pytensor.link.c.op import COp
from pytensor.tensor.variable import TensorVariable

from . import mixing_c
from .mixing_kernels import mixing_rows, normal_mixing_by_row, normal_mixing_constant, source_version
from .mixing_numba import register

_HALF_LOG_2PI = 0.9189385332046727
_FARTHEST = np.float64(1e150)  # as in the kernels: where standardised residuals are cut


class _MixingOperation(COp):
    """What both operations share: rows and experts of the outputs are those of the first input."""

    def infer_shape(self, node: Apply, shapes: Sequence[tuple[Variable, ...]]) -> list[tuple[Variable, ...]]:
        """Return the shapes of the outputs from those of the inputs."""
        rows, _ = shapes[0]
        return [(rows,), *(shapes[0] for _ in node.outputs[1:])]

    def perform(self, node: Apply, inputs: Sequence[np.ndarray], output_storage: list[list[Any]]) -> None:
        """Compute the outputs with the compiled kernel."""
        # one memory layout, so that the kernel is compiled once
        plain = (np.require(value, requirements=["C", "W"]) for value in inputs)
        for storage, value in zip(output_storage, kernel_of(self)(*plain), strict=True):
            storage[0] = value

    def c_support_code(self) -> str:
        """Return the C functions that the C code calls."""
        return mixing_c.SUPPORT

    def c_code_cache_version(self) -> tuple[int, ...]:
        """Return what must change with the C code."""
        return (source_version(),)


class Mixing(_MixingOperation):
    """Join log weights G and log densities F, both (rows, experts).

    Outputs: log density (rows,), responsibilities (rows, experts), gate probabilities (rows, experts).
    """

    __props__ = ()
    gufunc_signature = "(n,k),(n,k)->(n),(n,k),(n,k)"

    def make_node(self, logits: Any, densities: Any) -> Apply:
        """Return the node for log weights and log densities."""
        inputs = [_matrix(logits), _matrix(densities)]
        row, matrix = _output_types(inputs[0], inputs[1])
        return Apply(self, inputs, [row(), matrix(), matrix()])

    def pullback(self, inputs: Sequence[Variable], outputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Variable]:
        """Return the cotangents of log weights and log densities."""
        _, responsibilities, gate = outputs
        value, of_responsibilities, of_gate = cotangents
        joint, alone = pt.zeros_like(gate), pt.zeros_like(gate)
        if _connected(value):
            joint = value[:, None] * responsibilities
            alone = -value[:, None] * gate
        if _connected(of_responsibilities):
            joint = joint + _softmax_pullback(responsibilities, of_responsibilities)
        if _connected(of_gate):
            alone = alone + _softmax_pullback(gate, of_gate)
        return [joint + alone, joint]

    def c_code(self, node: Apply, name: str, inputs: Sequence[str], outputs: Sequence[str], sub: dict[str, str]) -> str:
        """Return the C code of one node."""
        logits, densities = inputs
        value, responsibilities, gate = outputs
        return mixing_c.MIXING.format(
            logits=logits,
            densities=densities,
            value=value,
            responsibilities=responsibilities,
            gate=gate,
            fail=sub["fail"],
        )


class NormalMixing(_MixingOperation):
    """Join log weights (rows, experts) and Normal experts in one pass.

    Inputs: logits and mu (rows, experts), log_sigma (rows, experts) or, when not ``by_row``, (experts,), and
    y (rows,). Outputs: log density (rows,), responsibilities and the derivatives of the log density with respect
    to logits, mu and log sigma, all (rows, experts).

    Parameters
    ----------
    by_row
        Whether log sigma varies by row.
    """

    __props__ = ("by_row",)

    def __init__(self, *, by_row: bool) -> None:
        self.by_row = by_row

    @property
    def gufunc_signature(self) -> str:
        """Shapes of inputs and outputs, as NumPy writes them."""
        log_sigma = "(n,k)" if self.by_row else "(k)"
        return f"(n,k),(n,k),{log_sigma},(n)->(n),(n,k),(n,k),(n,k),(n,k)"

    def make_node(self, logits: Any, mu: Any, log_sigma: Any, y: Any) -> Apply:
        """Return the node for log weights, means, log standard deviations and y."""
        spread = _matrix(log_sigma) if self.by_row else _vector(log_sigma)
        inputs = [_matrix(logits), _matrix(mu), spread, _vector(y)]
        row, matrix = _output_types(inputs[0], inputs[1])
        return Apply(self, inputs, [row(), matrix(), matrix(), matrix(), matrix()])

    def pullback(self, inputs: Sequence[Variable], outputs: Sequence[Any], cotangents: Sequence[Any]) -> list[Variable]:
        """Return the cotangents of logits, mu, log sigma and y."""
        _, _, d_logits, d_mu, d_log_sigma = outputs
        value, *derived = cotangents
        found: list[list[Variable]] = []
        if _connected(value):
            column = value[:, None]
            scores = column * d_log_sigma
            found.append(
                [
                    column * d_logits,
                    column * d_mu,
                    scores if self.by_row else scores.sum(axis=0),
                    -value * d_mu.sum(axis=1),
                ]
            )
        if any(_connected(cotangent) for cotangent in derived):
            found.append(_pull_back_explicit(inputs, derived))
        if not found:
            return [disconnected_type() for _ in inputs]
        return found[0] if len(found) == 1 else [a + b for a, b in zip(*found, strict=True)]

    def c_code(self, node: Apply, name: str, inputs: Sequence[str], outputs: Sequence[str], sub: dict[str, str]) -> str:
        """Return the C code of one node."""
        logits, mu, log_sigma, y = inputs
        value, responsibilities, d_logits, d_mu, d_log_sigma = outputs
        return mixing_c.NORMAL_MIXING.format(
            logits=logits,
            mu=mu,
            log_sigma=log_sigma,
            y=y,
            value=value,
            responsibilities=responsibilities,
            d_logits=d_logits,
            d_mu=d_mu,
            d_log_sigma=d_log_sigma,
            by_row=int(self.by_row),
            fail=sub["fail"],
        )


# -- graph functions -----------------------------------------------------------------------------------------


def mix_log_densities(logits: Any, densities: Any) -> TensorVariable:
    """Return the log density (rows,) of a mixture from log weights and log densities (rows, experts).

    Parameters
    ----------
    logits
        Unnormalised log weights of the gate.
    densities
        Log densities of the experts; -inf where y is outside an expert's support.

    Examples
    --------
    >>> import numpy as np
    >>> mix_log_densities(np.zeros((1, 2)), np.log([[0.1, 0.3]])).eval({}, mode="FAST_COMPILE")
    array([-1.6094])
    """
    return Mixing()(logits, densities)[0]


def responsibilities(logits: Any, densities: Any) -> TensorVariable:
    """Return p(z = k | x, y), (rows, experts), from log weights and log densities (rows, experts)."""
    return Mixing()(logits, densities)[1]


def normal_mixture(logits: Any, mu: Any, log_sigma: Any, y: Any) -> TensorVariable:
    """Return the log density (rows,) of a mixture of Normal experts.

    Parameters
    ----------
    logits, mu
        (rows, experts): unnormalised log weights and means.
    log_sigma
        Log standard deviations, (rows, experts), or (experts,) or (1, experts) when they hold for every row.
    y
        (rows,): where the density is taken, in the units of mu and sigma.

    Examples
    --------
    >>> import numpy as np
    >>> normal_mixture(np.zeros((1, 2)), [[0.0, 0.0]], [0.0, 0.0], [0.0]).eval({}, mode="FAST_COMPILE")
    array([-0.9189])
    """
    return _normal(logits, mu, log_sigma, y)[0]


def normal_responsibilities(logits: Any, mu: Any, log_sigma: Any, y: Any) -> TensorVariable:
    """Return p(z = k | x, y), (rows, experts), of Normal experts; arguments as for `normal_mixture`."""
    return _normal(logits, mu, log_sigma, y)[1]


def _normal(logits: Any, mu: Any, log_sigma: Any, y: Any) -> list[TensorVariable]:
    spread = pt.as_tensor_variable(log_sigma)
    if spread.type.ndim == 2 and spread.type.broadcastable[0]:
        spread = spread[0]
    outputs: list[TensorVariable] = NormalMixing(by_row=spread.type.ndim == 2)(logits, mu, spread, y)
    return outputs


# -- ordinary graphs of the same quantities ------------------------------------------------------------------


def explicit_mixing(logits: Any, densities: Any) -> list[TensorVariable]:
    """Return the outputs of `Mixing` as a graph of elementary operations."""
    total, weights = _weights(logits + densities)
    total_gate, weights_gate = _weights(logits)
    size, size_gate = weights.sum(axis=1, keepdims=True), weights_gate.sum(axis=1, keepdims=True)
    possible = pt.neq(size, 0.0)
    value = (total - total_gate)[:, 0] + pt.log(size / size_gate)[:, 0]
    shares = pt.switch(possible, weights / pt.switch(possible, size, 1.0), 0.0)
    return [value, shares, pt.switch(possible, weights_gate / size_gate, 0.0)]


def explicit_normal_mixing(logits: Any, mu: Any, log_sigma: Any, y: Any) -> list[TensorVariable]:
    """Return the outputs of `NormalMixing` as a graph around `Mixing`."""
    inverse = pt.exp(-log_sigma)
    z = pt.clip((y[:, None] - mu) * inverse, -_FARTHEST, _FARTHEST)
    value, shares, gate = Mixing()(logits, -_HALF_LOG_2PI - log_sigma - 0.5 * z**2)
    return [value, shares, shares - gate, shares * z * inverse, shares * (z**2 - 1.0)]


def _weights(joint: Any) -> tuple[TensorVariable, TensorVariable]:
    top = pt.max(joint, axis=1, keepdims=True)
    top = pt.switch(pt.eq(top, -np.inf), 0.0, top)
    return top, pt.exp(joint - top)


def _softmax_pullback(shares: Any, cotangent: Any) -> TensorVariable:
    return shares * (cotangent - (shares * cotangent).sum(axis=1, keepdims=True))


def _pull_back_explicit(inputs: Sequence[Variable], cotangents: Sequence[Variable]) -> list[Variable]:
    """Pull cotangents of the outputs after the first back through the explicit graph."""
    # inputs may depend on each other; fresh variables keep their derivatives apart
    fresh = [variable.type() for variable in inputs]
    derived = explicit_normal_mixing(*fresh)[1:]
    products = [(d * c).sum() for d, c in zip(derived, cotangents, strict=True) if _connected(c)]
    found = grad(pt.add(*products) if len(products) > 1 else products[0], fresh, disconnected_inputs="ignore")
    replaced: list[Variable] = graph_replace(found, dict(zip(fresh, inputs, strict=True)), strict=False)
    return replaced


def _connected(cotangent: Variable) -> bool:
    return not isinstance(cotangent.type, DisconnectedType)


def _matrix(value: Any) -> TensorVariable:
    return _doubles(value, 2)


def _vector(value: Any) -> TensorVariable:
    return _doubles(value, 1)


def _doubles(value: Any, ndim: int) -> TensorVariable:
    tensor = pt.as_tensor_variable(value)
    if tensor.type.ndim != ndim:
        raise TypeError(f"mixing: expected a tensor of {ndim} dimensions, got {tensor.type.ndim} → add or drop an axis")
    return tensor if tensor.type.dtype == "float64" else tensor.astype("float64")


def _output_types(first: TensorVariable, second: TensorVariable) -> tuple[Any, Any]:
    """Return the types of one number per row and of one per row and expert."""
    shape = tuple(a if a is not None else b for a, b in zip(first.type.shape, second.type.shape, strict=True))
    return pt.TensorType("float64", shape[:1]), pt.TensorType("float64", shape)


# -- linkers -------------------------------------------------------------------------------------------------


def kernel_of(operation: _MixingOperation) -> Callable[..., Any]:
    """Return the compiled kernel of an operation."""
    if isinstance(operation, NormalMixing):
        kernel: Callable[..., Any] = normal_mixing_by_row if operation.by_row else normal_mixing_constant
        return kernel
    plain: Callable[..., Any] = mixing_rows
    return plain


class _ForNumba(GraphRewriter):
    """Changes nothing: makes the operations known to the numba linker before it sees them."""

    def apply(self, fgraph: FunctionGraph) -> None:
        for operation in (Mixing, NormalMixing):
            if any(isinstance(node.op, operation) for node in fgraph.apply_nodes):
                register(operation, kernel_of)


@node_rewriter([Mixing, NormalMixing])
def _spell_out(fgraph: FunctionGraph, node: Apply) -> list[TensorVariable]:  # noqa: ARG001 - PyTensor's signature
    """Replace an operation by its explicit graph, for linkers that have their own compiler."""
    if isinstance(node.op, Mixing):
        return explicit_mixing(*node.inputs)
    return explicit_normal_mixing(*node.inputs)


optdb.register("moe_mixing_for_numba", _ForNumba(), "numba", position=100)
optdb.register("moe_mixing_spelled_out", dfs_rewriter(_spell_out), "jax", "mlx", "pytorch", position=0.1)
