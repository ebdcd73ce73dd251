"""``--group-column``: whole groups are held out, and what was saved says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Run


@pytest.mark.full
def test_groups_are_held_out_and_saved(run: Run, tmp_path: Path) -> None:
    """Texts of which only the author tells the label: alone, authors that are known are known again; held out, they are not."""
    rows = [f"written by author {n % 12},{'xy'[n % 12 % 5 % 2]},{n % 12 if n else ''}" for n in range(120)]
    table = tmp_path / "t.csv"
    table.write_text("text,label,author\n" + "\n".join(rows) + "\n")
    words = ("probe", str(table), "--model", "embedded/sprig", "--set", "C=1.0", "--no-check-duplicates", "-f", "json")
    alone = run(*words)
    assert alone.returncode == 0, alone.stderr
    assert "column 'author' is not used" in alone.stderr
    held = run(*words, "--group-column", "author", "--save", str(tmp_path / "saved"))
    assert held.returncode == 0, held.stderr
    found = json.loads(held.stdout)
    assert "1 item without a group: each is a group of its own" in found["notes"]
    card = next((tmp_path / "saved").glob("*.json")).read_text()
    assert json.loads(card)["training"]["data"]["groups"]["column"] == "author"
    again = run("predict", "--text", "written by author 3", "--model", str(tmp_path / "saved"))
    assert again.returncode == 0, again.stderr
    wrong = run("finetune", str(table), "--group-column", "writer", "--save", str(tmp_path / "out"))
    assert wrong.returncode == 2 and "has no column 'writer'" in wrong.stderr
