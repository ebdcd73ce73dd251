"""Every fault is survived as docs/reliability.md says: the table is compared, line by line, with a run of now."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.weights import reliability
from tests.weights.bench import Bench, NotHereError
from tests.weights.cases import ALL, Case

PAGE = reliability.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with Bench.open(tmp_path_factory.mktemp("faults")) as opened:
        yield opened


@pytest.mark.full
@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.key, marks=[pytest.mark.slow] if case.slow else []) for case in ALL]
)
def test_survived_as_the_page_says(bench: Bench, case: Case) -> None:
    try:
        row = case.row(bench)
    except NotHereError as reason:
        pytest.skip(str(reason))
    assert row.wrong == 0
    assert row.markdown() in PAGE.splitlines(), (
        "docs/reliability.md says otherwise: python -m tests.weights.reliability"
    )


def test_the_page_has_these_rows_and_their_sum() -> None:
    rows = reliability.rows_of(PAGE)
    assert [row.fault for row in rows] == [case.fault for case in ALL]
    assert reliability.table(rows) in PAGE
    assert sum(row.wrong for row in rows) == 0 < sum(row.loads for row in rows)


def test_a_wrong_load_would_be_counted(bench: Bench) -> None:
    """Other weights in the cache, and nobody looks at digests: the model loads, silently wrong, and the bench sees it."""
    bench.begin()
    assert bench.pull().code == 0
    shutil.copy(bench.other, bench.blob())
    assert "embedding" in bench.load(verified=False)
    assert (bench.tally.loads, bench.tally.wrong) == (1, 1)


@pytest.mark.full
def test_small_files_are_fetched_as_patiently_as_weights(bench: Bench) -> None:
    """What the hub does not keep as an LFS file (a configuration, a tokenizer) meets the same faults."""
    name = "sentence-transformers/all-MiniLM-L6-v2"
    folder = bench.hub.root / name
    folder.mkdir(parents=True)
    for file in ("modules.json", "config.json"):
        (folder / file).write_text(f'["{file}"]' + " " * 10_000, encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    cases: list[tuple[str, dict[str, Any], int]] = [
        ("reset", {"times": 2, "after": 5000}, 0),
        ("cut", {"times": 2, "after": 5000}, 0),
        ("502", {"times": 2, "method": "GET"}, 0),
        ("flip", {"after": 5000}, 1),
        ("throttled", {"seconds": 86400, "method": "GET"}, 1),
    ]
    for kind, how, code in cases:
        bench.begin()
        fault = bench.hub.fault("*/config.json", kind, **how)
        pulled = bench.pull(name, within=40)
        assert pulled.code == code and pulled.err.count("\n") == code, (kind, pulled)
        assert fault.struck
        stored = [path.read_bytes() for path in bench.cache.rglob("snapshots/*/config.json")]
        assert stored == ([] if code else [(folder / "config.json").read_bytes()]), kind
