"""Threads of libraries: held to one where several would get in each other's way, and given back."""

from __future__ import annotations

import subprocess
import sys


def test_every_blas_is_held_to_one_thread() -> None:
    """Also SciPy's, which compiled kernels call: libraries are looked for once, before a kernel may have loaded it."""
    code = (
        "import numpy\n"
        "from threadpoolctl import threadpool_info, threadpool_limits\n"
        "from bayes_moe.processors import one_blas_thread\n"
        "def counts():\n"
        "    return [each['num_threads'] for each in threadpool_info() if each['user_api'] == 'blas']\n"
        "with one_blas_thread():\n"
        "    import scipy.linalg.cython_blas\n"
        "    assert set(counts()) == {1}, counts()\n"
        "threadpool_limits(2, user_api='blas')\n"
        "before = counts()\n"
        "with one_blas_thread():\n"
        "    assert set(counts()) == {1}, counts()\n"
        "assert counts() == before, (before, counts())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
