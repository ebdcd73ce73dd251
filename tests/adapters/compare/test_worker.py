"""What stands between a comparison and its processes: nothing a stranger wrote gets in, and what is kept is read whole."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from modelgraft_adapters import Dataset, read_data
from modelgraft_adapters.compare import runner as comparing
from modelgraft_adapters.compare.results import Comparison
from modelgraft_adapters.compare.runner import compare

SPRIG = "embedded/sprig"
COLOURS = {
    "red": ["a red rose", "red wine", "red brick", "a red car"],
    "blue": ["a blue sky", "blue sea", "blue whale", "blue ink"],
}


@pytest.fixture(scope="module")
def data() -> Dataset:
    texts = [text for some in COLOURS.values() for text in some]
    labels = [name for name, some in COLOURS.items() for _ in some]
    return read_data(texts, labels, modality="text", task="single-label")


def _run(data: Dataset, folder: Path | None = None) -> Comparison:
    return compare(data, [SPRIG], ["probe"], seeds=1, shots=(None,), test_fraction=0.5, folder=folder, device="cpu")


TRAP = "import os; os.close(os.open(os.environ['TRAP'], os.O_CREAT | os.O_WRONLY))\n"


@pytest.mark.full
def test_modules_in_the_folder_that_somebody_stands_in_are_not_run(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of images that was unpacked may hold a json.py; with Python's usual search path in the process, it runs."""
    for name in ("json", "modelgraft_adapters", "numpy"):
        (tmp_path / f"{name}.py").write_text(TRAP + "raise SystemExit\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRAP", str(tmp_path / "sprung"))
    assert _run(data).rows[0].status == "done" and not (tmp_path / "sprung").exists()

    plain = subprocess.Popen

    def unsafe(command: list[str], **options: Any) -> Any:
        return plain([word for word in command if word != "-P"], **options)

    monkeypatch.setattr(subprocess, "Popen", unsafe)
    assert _run(data).rows[0].status == "failed" and (tmp_path / "sprung").exists()


@pytest.mark.full
def test_what_is_printed_in_the_process_is_no_answer(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sitecustomize`` and ``.pth`` files run before any line of ours."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif 'modelgraft_adapters.compare.worker' in ' '.join(sys.orig_argv):\n"
        '    print(\'hello\', flush=True); os.write(1, b\'{"cell": null, "failed": "forged\')\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert _run(data).rows[0].status == "done"
    monkeypatch.setattr(comparing, "_MARK", b"")
    with pytest.raises(ValueError, match="Expecting value"):
        _run(data)


@pytest.mark.full
def test_a_kept_result_that_is_damaged_is_learnt_again(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = _run(data, tmp_path)
    (path,) = (tmp_path / "cells").iterdir()
    content = path.read_bytes()
    cell = comparing.Cell(None, 0, path)
    kept = comparing._kept(cell)
    assert kept is not None and comparing._kept(comparing.Cell(None, 1, path)) is None

    def flips(found: Callable[[], Any]) -> int:
        """Damaged files that are read as another result."""
        other = 0
        for place in range(0, len(content), 3):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            read = found()
            other += read is not None and {**read, "checksum": 0} != {**kept, "checksum": 0}
        return other

    assert flips(lambda: comparing._kept(cell)) == 0
    for end in range(0, len(content), 50):
        path.write_bytes(content[:end])
        assert comparing._kept(cell) is None
    path.write_bytes(content.replace(b'"right": "', b'"right": "1', 1))
    again = _run(data, tmp_path)
    assert again.ran == 1 and again.rows[0].points == whole.rows[0].points
    with monkeypatch.context() as patched:  # without the checksum, damage is a result
        patched.setattr(comparing, "without_checksum", lambda record, what: record)
        assert flips(lambda: comparing._kept(cell)) > 100
    path.write_bytes(content)
    assert json.loads(content)["checksum"].startswith("sha256:") and os.listdir(tmp_path) == ["cells"]
