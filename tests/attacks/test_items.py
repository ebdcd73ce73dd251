"""No attack of images, names, tables, tars and words gets through."""

from __future__ import annotations

import pytest

from tests.attacks.__main__ import run
from tests.attacks.harness import report


@pytest.mark.full
@pytest.mark.parametrize("kind", ["items"])
def test_no_attack_gets_through(kind: str) -> None:
    verdicts = run([kind])
    assert len(verdicts) >= 50 and not any(verdict.faults for verdict in verdicts), "\n" + report(verdicts)
