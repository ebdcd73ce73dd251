"""A head of a third party: built to a wheel, installed by pip, trained, saved, loaded, and missed when it is gone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.adapters.flowers import flowers
from tests.host.environments import Environment, build_wheel

NEARBY = Path(__file__).parent.parent / "third_party" / "modelgraft-nearby"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(NEARBY, tmp_path_factory.mktemp("wheels"))


@pytest.mark.full
def test_learn_save_load_and_go(tmp_path: Path, wheel: Path, shared_data: Path) -> None:
    data = flowers(shared_data, tmp_path / "flowers", train=12, test=6)
    saved = tmp_path / "saved"
    environment = Environment(tmp_path)
    probe = (
        "probe",
        data,
        "--model",
        "embedded/sprig",
        "--head",
        "nearest-median",
        "--save",
        saved,
        "--no-check-duplicates",
    )
    before = environment.modelgraft(*probe)
    assert before.returncode == 2 and "no installed plugin brings a head 'nearest-median'" in before.stderr
    assert not saved.exists()

    environment.install(wheel)
    report = next(plugin for plugin in environment.json("plugins") if plugin["name"] == "nearby")
    assert (report["status"], report["heads"], report["error"]) == ("ok", 1, None)
    found = environment.json(*probe)
    assert found["head"] == "nearest-median"
    card = json.loads((saved / "modelgraft_adapter.json").read_text())
    assert (card["head"]["distribution"], card["head"]["version"]) == ("modelgraft-nearby", "0.3.0")
    assert card["head"]["tensors"] == {"medians": {"dtype": "float32", "shape": [5, 256]}}
    assert card["evaluation"]["items"] == 30

    rows = environment.json("predict", data / "test", "--model", saved)
    right = [row["label"] == Path(row["path"]).parent.name for row in rows]
    accuracy = card["evaluation"]["scores"][0]
    assert accuracy["name"] == "accuracy" and sum(right) / len(right) == pytest.approx(accuracy["value"])
    assert sum(right) > 12  # chance is 6

    bad = environment.modelgraft(*probe, "--set", "spread=-1")
    assert bad.returncode == 2 and "spread=-1 for the head 'nearest-median': give a number above 0" in bad.stderr

    environment.uninstall("modelgraft-nearby")
    gone = environment.modelgraft("predict", data / "test", "--model", saved)
    assert gone.returncode == 1 and "Traceback" not in gone.stderr
    assert "the head 'nearest-median'" in gone.stderr and "pip install modelgraft-nearby" in gone.stderr
    assert environment.json("info", saved)["tasks"] == ["classification"]

    # Another distribution's head of the same name is not taken for it.
    copy = tmp_path / "modelgraft-other"
    shutil.copytree(NEARBY, copy)
    file = copy / "pyproject.toml"
    file.write_text(file.read_text().replace("modelgraft-nearby", "modelgraft-other"))
    environment.install(build_wheel(copy, tmp_path / "wheels"))
    other = environment.modelgraft("predict", data / "test", "--model", saved)
    assert (
        other.returncode == 1
        and "that of the distribution modelgraft-nearby, and here modelgraft-other" in other.stderr
    )
