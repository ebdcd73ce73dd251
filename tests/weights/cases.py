"""Every fault of docs/reliability.md, in the order of its table."""

from __future__ import annotations

# Importing them notes their cases.
from tests.weights import cases_machine, cases_network
from tests.weights.rules import CASES, Case, Row

ORDER = (cases_network, cases_machine)
ALL: list[Case] = sorted(CASES, key=lambda case: [module.__name__ for module in ORDER].index(case.run.__module__))

__all__ = ["ALL", "Case", "Row"]
