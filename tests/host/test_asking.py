"""Strangers' plugins that are asked about a place: one knows it, the others hang, die, print and lie."""

from __future__ import annotations

import json
from pathlib import Path

from tests.host.environments import Environment, build_wheel, write_project

HEAD = "import os, time\nfrom modelgraft import Entry, hookimpl\n@hookimpl\ndef modelgraft_recognise(name, configs):\n"
GOOD = "    return Entry(name='{who}/' + name, modality='image', tasks=('features',)) if 'mine.json' in configs else None\n"
PLUGINS = {
    "knows": HEAD + GOOD.format(who="knows"),
    "exits": HEAD + "    os._exit(0)\n",
    "prints": HEAD + "    print('{}'); os.write(1, b'noise')\n",
    "lies": HEAD + GOOD.format(who="timm"),
    "garbles": HEAD + "    return 'an entry'\n",
    "hangs": HEAD + "    time.sleep(600)\n",
}


def test_who_knows_a_place_is_heard_and_who_fails_is_named(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "env")
    place = tmp_path / "place"
    place.mkdir()
    (place / "mine.json").write_text("{}")
    for name, code in PLUGINS.items():
        project = write_project(tmp_path / name, f"modelgraft-{name}", code)
        environment.install(build_wheel(project, tmp_path / "out"))
    short = {"MODELGRAFT_PLUGIN_TIMEOUT": "15"}
    done = environment.modelgraft("info", place, "--format", "json", env=short)
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout)
    assert entry["name"] == f"knows/file:{place}" and entry["distribution"] == "modelgraft-knows"
    for name in ("exits", "lies", "garbles", "hangs"):
        assert f"modelgraft-{name} 1.0 was asked" in done.stderr, done.stderr
    assert "modelgraft-prints" not in done.stderr
    (place / "mine.json").unlink()
    (place / "config.json").write_text("{}")
    unknown = environment.modelgraft("info", place, env={**short, "MODELGRAFT_PLUGINS": "-hangs"})
    assert unknown.returncode == 2 and "no installed plugin knows" in unknown.stderr
    assert "modelgraft-exits 1.0 was asked" in unknown.stderr
