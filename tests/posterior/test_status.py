"""A status as text."""

from __future__ import annotations

from bayes_moe.errors import Notice
from bayes_moe.posterior.status import FitStatus


def test_nothing_is_said_twice() -> None:
    notices = Notice("r_hat", "R-hat is large."), Notice("tied_values", "y is tied."), Notice("ess", "Few draws.")
    status = FitStatus(converged=False, sentence="Not converged: R-hat is large. Few draws.", notices=notices)
    assert str(status) == (
        "Not converged: R-hat is large. Few draws.\n  [r_hat] [ess] see above\n  [tied_values] y is tied."
    )
    assert status.codes == ("r_hat", "tied_values", "ess")


def test_without_notices_it_is_the_sentence() -> None:
    assert str(FitStatus(converged=True, sentence="Converged.")) == "Converged."
