"""A path is asked about: strangers' plugins may misbehave as they like, and none of them is imported for what another knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.harness import Place

FRAME = """
from modelgraft import Entry, hookimpl

@hookimpl
def modelgraft_recognise(name, weights, configs):
    {body}
"""
GOOD = 'return Entry(f"shelf/{name}", modality="image", tasks=("features",), embed_dim=configs["shelf.json"]["dim"])'
BAD = {
    "a-dies": "import os; os._exit(0)",
    "b-hangs": "import time; time.sleep(300)",
    "c-exits": "raise SystemExit(0)",
    "d-prints": "print('noise'); import os; os.write(1, b'noise'); return None",
    "e-garbles": "import os\n    for n in range(3, 30):\n"
    "        try: os.write(n, b'[1]')\n        except OSError: pass\n    os._exit(0)",
    "f-another-name": "return Entry('evil/other', modality='image', tasks=('features',))",
    "g-no-entry": "return 5",
    "h-wrong-entry": "return Entry(f'evil/{name}', modality='smell', tasks=('features',))",
    "h-other-provider": "return Entry(f'timm/{name}', modality='image', tasks=('features',))",
    "i-lists-models": "import modelgraft; modelgraft.list_models()",
    "j-floods": "import os\n    while True: os.write(1, b'x' * 100_000)",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with Place(tmp_path_factory.mktemp("recognisers")) as made:
        for name, body in BAD.items():
            made.install(f"modelgraft-{name}", FRAME.format(body=body))
        made.install(
            "modelgraft-failed", "import os\nopen(os.environ['ATTACK'], 'a').write('imported')\nraise OSError('no')\n"
        )
        made.install("modelgraft-shelf", FRAME.format(body=GOOD))
        yield made


@pytest.fixture
def shelf(place: Place) -> Path:
    folder = place.folder / "books"
    folder.mkdir(exist_ok=True)
    (folder / "shelf.json").write_text(json.dumps({"dim": 7}))
    return folder


@pytest.mark.full
def test_the_one_that_knows_answers_whatever_the_others_do(place: Place, shelf: Path) -> None:
    done = place.cold("info", f"file:{shelf}", "--format", "json", MODELGRAFT_PLUGIN_TIMEOUT="8")
    assert done.code == 0, done.err
    assert done.json()["embed_dim"] == 7 and done.json()["distribution"] == "modelgraft-shelf"
    assert "noise" not in done.out
    assert "modelgraft-b-hangs 1.0 could not be asked: it did not answer in 8 s" in done.err


@pytest.mark.full
def test_where_nobody_knows_the_culprits_are_named(place: Place) -> None:
    folder = place.folder / "nothing"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    done = place.cold("info", f"file:{folder}", MODELGRAFT_PLUGIN_TIMEOUT="8")
    assert done.code == 2 and len(done.errors) == 1, done.err
    assert "no installed plugin knows" in done.errors[0]
    for name in BAD:
        if name != "d-prints":  # it has answered
            assert f"modelgraft-{name} 1.0 could not be asked" in done.err, name
    assert "modelgraft-shelf 1.0 could not be asked: KeyError" in done.err


def test_what_the_project_knows_itself_is_asked_of_no_stranger(place: Place) -> None:
    place.cold("list", "--limit", "1")
    place.trap.unlink(missing_ok=True)
    folder = place.folder / "known"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet18", "num_classes": 3}))
    done = place.cold("info", f"file:{folder}", "--format", "json", MODELGRAFT_PLUGIN_TIMEOUT="8")
    assert done.code == 0 and done.json()["distribution"] == "modelgraft", done.err
    assert not place.trap.exists()  # nor is one imported that has failed
