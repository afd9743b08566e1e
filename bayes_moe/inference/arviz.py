"""ArviZ's statistics, imported when they are asked for: half a second that `import bayes_moe` must not cost."""

from __future__ import annotations

from typing import Any

from .deferred import deferred


def statistics() -> Any:
    """Return the module ``arviz_stats``."""
    # arviz_base looks for JAX and NumPyro, and where they are missing it notes who asked, for an error later: 0.15 s
    # of reading source files
    with deferred("jax"), deferred("numpyro"):
        import arviz_base  # noqa: F401
    import arviz_stats

    return arviz_stats
