"""The mixing operations in C, for graphs that PyTensor compiles with its C linker."""

from __future__ import annotations

SUPPORT = r"""
#include <math.h>

/* Make *out a C-ordered array of doubles of this shape; return nonzero without memory. */
static int moe_allocate(PyArrayObject** out, int dimensions, npy_intp* shape) {
    if (*out != NULL && PyArray_NDIM(*out) == dimensions && PyArray_IS_C_CONTIGUOUS(*out)
        && PyArray_CompareLists(PyArray_DIMS(*out), shape, dimensions)) return 0;
    Py_XDECREF(*out);
    *out = (PyArrayObject*)PyArray_SimpleNew(dimensions, shape, NPY_FLOAT64);
    return *out == NULL;
}

static inline double moe_at(PyArrayObject* array, npy_intp row, npy_intp column) {
    return *(double*)PyArray_GETPTR2(array, row, column);
}

/* Turn joint log weights into responsibilities and log weights into probabilities; return the log density. */
static double moe_mix(double* joint, double* gate, npy_intp experts) {
    double top = joint[0], top_gate = gate[0], total = 0.0, total_gate = 0.0;
    for (npy_intp k = 1; k < experts; k++) {
        top = joint[k] > top ? joint[k] : top;
        top_gate = gate[k] > top_gate ? gate[k] : top_gate;
    }
    top = top == -NPY_INFINITY ? 0.0 : top;
    top_gate = top_gate == -NPY_INFINITY ? 0.0 : top_gate;
    for (npy_intp k = 0; k < experts; k++) {
        total += joint[k] = exp(joint[k] - top);
        total_gate += gate[k] = exp(gate[k] - top_gate);
    }
    double value = (top - top_gate) + log(total / total_gate);
    double scale = total != 0.0 ? 1.0 / total : 0.0;
    double scale_gate = total != 0.0 ? 1.0 / total_gate : 0.0;
    for (npy_intp k = 0; k < experts; k++) {
        joint[k] *= scale;
        gate[k] *= scale_gate;
    }
    return value;
}
"""

MIXING = r"""
{{
    npy_intp shape[2] = {{PyArray_DIM({logits}, 0), PyArray_DIM({logits}, 1)}};
    if (!PyArray_CompareLists(PyArray_DIMS({densities}), shape, 2)) {{
        PyErr_SetString(PyExc_ValueError,
            "mixing: expected log weights and log densities of one shape (rows, experts)");
        {fail}
    }}
    if (moe_allocate(&{value}, 1, shape) || moe_allocate(&{responsibilities}, 2, shape)
        || moe_allocate(&{gate}, 2, shape)) {{ {fail} }}
    for (npy_intp i = 0; i < shape[0]; i++) {{
        double* joint = (double*)PyArray_GETPTR2({responsibilities}, i, 0);
        double* gate = (double*)PyArray_GETPTR2({gate}, i, 0);
        for (npy_intp k = 0; k < shape[1]; k++) {{
            gate[k] = moe_at({logits}, i, k);
            joint[k] = gate[k] + moe_at({densities}, i, k);
        }}
        *(double*)PyArray_GETPTR1({value}, i) = moe_mix(joint, gate, shape[1]);
    }}
}}
"""

NORMAL_MIXING = r"""
{{
    npy_intp shape[2] = {{PyArray_DIM({logits}, 0), PyArray_DIM({logits}, 1)}};
    if (!PyArray_CompareLists(PyArray_DIMS({mu}), shape, 2) || PyArray_DIM({y}, 0) != shape[0]
        || !PyArray_CompareLists(PyArray_DIMS({log_sigma}), shape + 1 - {by_row}, 1 + {by_row})) {{
        PyErr_SetString(PyExc_ValueError, {by_row}
            ? "normal mixing: expected logits, mu, log_sigma (rows, experts) and y (rows,)"
            : "normal mixing: expected logits, mu (rows, experts), log_sigma (experts,), y (rows,)");
        {fail}
    }}
    if (moe_allocate(&{value}, 1, shape) || moe_allocate(&{responsibilities}, 2, shape)
        || moe_allocate(&{d_logits}, 2, shape) || moe_allocate(&{d_mu}, 2, shape)
        || moe_allocate(&{d_log_sigma}, 2, shape)) {{ {fail} }}
    for (npy_intp i = 0; i < shape[0]; i++) {{
        double* joint = (double*)PyArray_GETPTR2({responsibilities}, i, 0);
        double* gate = (double*)PyArray_GETPTR2({d_logits}, i, 0);
        double* d_mu = (double*)PyArray_GETPTR2({d_mu}, i, 0);
        double* d_log_sigma = (double*)PyArray_GETPTR2({d_log_sigma}, i, 0);
        double y = *(double*)PyArray_GETPTR1({y}, i);
        for (npy_intp k = 0; k < shape[1]; k++) {{
            double log_sigma = {by_row} ? moe_at({log_sigma}, i, k)
                                        : *(double*)PyArray_GETPTR1({log_sigma}, k);
            double inverse = exp(-log_sigma);
            double z = (y - moe_at({mu}, i, k)) * inverse;
            z = z > 1e150 ? 1e150 : z;
            z = z < -1e150 ? -1e150 : z;
            gate[k] = moe_at({logits}, i, k);
            joint[k] = gate[k] - log_sigma - 0.5 * z * z;
            d_mu[k] = z * inverse;
            d_log_sigma[k] = z * z - 1.0;
        }}
        *(double*)PyArray_GETPTR1({value}, i) = moe_mix(joint, gate, shape[1]) - 0.9189385332046727;
        for (npy_intp k = 0; k < shape[1]; k++) {{
            gate[k] = joint[k] - gate[k];
            d_mu[k] *= joint[k];
            d_log_sigma[k] *= joint[k];
        }}
    }}
}}
"""
