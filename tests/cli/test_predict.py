"""``modelgraft predict`` and ``push`` from the outside: rows, exit codes, names, the hub through its real client."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.adapters.flowers import flowers
from tests.conftest import Run
from tests.hub_standin import HubStandIn

CLASSES = ["daisy", "dandelion", "rose", "sunflower", "tulip"]
TINY = "timm/test_vit:r160_in1k"
TOKEN = "hf_thisisthesecrettoken"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    return flowers(shared_data, tmp_path_factory.mktemp("flowers"), train=8, test=3)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    from modelgraft_adapters import FrozenAdapter

    adapter = FrozenAdapter("embedded/sprig", "prototype", device="cpu", n_folds=2).fit(data)
    adapter.evaluate(data)
    return adapter.save(tmp_path_factory.mktemp("saved") / "blooms")


def _rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


# Predict


@pytest.mark.full
def test_rows_are_those_of_classify(run: Run, data: Path, saved: Path, tmp_path: Path) -> None:
    from modelgraft_adapters import FrozenAdapter

    paths = [str(path) for path in sorted((data / "test" / "rose").iterdir())]
    done = run(
        "predict", str(data / "test" / "rose"), "missing.jpg", "--model", str(saved), "-f", "jsonl", "--device", "cpu"
    )
    assert done.returncode == 1 and "1 of 4 items could not be read" in done.stderr and "Traceback" not in done.stderr
    rows = _rows(done.stdout)
    assert [row["path"] for row in rows] == [*paths, "missing.jpg"]
    blank = {"path": "missing.jpg", "label": None, "score": None, "scores": {}, "error": "no such file", "note": None}
    assert rows[-1] == blank
    expected = FrozenAdapter.load(saved, device="cpu").predict_proba(paths)
    for row, chances in zip(rows, expected.tolist(), strict=False):
        assert row["scores"] == pytest.approx(dict(zip(CLASSES, chances, strict=True)), abs=1e-6)
        assert row["score"] == max(row["scores"].values()) == row["scores"][row["label"]]

    done = run(
        "predict", str(data / "test"), "--model", str(saved), "-f", "csv", "-o", str(tmp_path / "out.csv"), "--no-keep"
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    table = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert len(table) == 15 and set(table[0]) >= {"path", "label", "score", *(f"score:{name}" for name in CLASSES)}
    done = run(
        "predict", "-", "--model", str(saved), "--top-k", "2", "--threshold", "1", "-f", "jsonl", stdin="\n".join(paths)
    )
    assert done.returncode == 0, done.stderr
    assert [(row["label"], len(row["scores"])) for row in _rows(done.stdout)] == [(None, 2)] * 3


@pytest.mark.full
def test_by_a_registered_name(run: Run, data: Path, saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "models" / "blooms")
    assert run("register", "petals", "./models/blooms", cwd=tmp_path).returncode == 0
    photo = str(next((data / "test" / "tulip").iterdir()))
    found = [run("predict", photo, "-m", name, "-f", "json", cwd=tmp_path) for name in ("petals", "models/blooms")]
    assert [done.returncode for done in found] == [0, 0], found[0].stderr
    assert len({done.stdout for done in found}) == 1
    told = json.loads(run("info", "petals", "-f", "json", cwd=tmp_path).stdout)
    assert told["tasks"] == ["classification"] and "5 classes: daisy, dandelion" in told["note"]
    assert run("lock", "petals", cwd=tmp_path).returncode == 0
    locked = run("--locked", "predict", photo, "-m", "petals", "-f", "json", cwd=tmp_path)
    assert locked.returncode == 0 and json.loads(locked.stdout)[0]["label"] == json.loads(found[0].stdout)[0]["label"]


@pytest.mark.full
def test_texts_from_the_command_line_and_from_tables(run: Run, tmp_path: Path) -> None:
    from modelgraft_adapters import FrozenAdapter

    learnt = ["a red rose", "a pink tulip", "red petals", "a blue sea", "the blue sky", "deep blue water"]
    adapter = FrozenAdapter("embedded/sprig", "prototype", modality="text", device="cpu", n_folds=2)
    adapter.fit(learnt, ["flower"] * 3 + ["water"] * 3).save(tmp_path / "it")
    done = run("predict", "a red flower", "blue ocean", "--model", "./it", "-f", "jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [(row["text"], row["label"]) for row in _rows(done.stdout)] == [
        ("a red flower", "flower"),
        ("blue ocean", "water"),
    ]
    (tmp_path / "table.csv").write_text("id,text\n7,a red flower\n8,\n9,blue ocean\n")
    done = run("predict", "table.csv", "--text", "--column", "text", "--model", "./it", "-f", "jsonl", cwd=tmp_path)
    rows = _rows(done.stdout)
    assert done.returncode == 1 and [row["label"] for row in rows] == ["flower", None, "water"], done.stderr
    assert rows[1]["error"] and rows[0]["path"].startswith("table.csv:")


def test_numbers_in_a_table(run: Run, data: Path, tmp_path: Path) -> None:
    from modelgraft_adapters import FrozenAdapter, read_data

    paths = [str(path) for path in sorted((data / "train").glob("*/*"))]
    sizes = [float(Path(path).stat().st_size) / 1000 for path in paths]
    learnt = read_data(paths, sizes, modality="image", task="regression")
    FrozenAdapter("embedded/sprig", "knn", device="cpu", n_folds=2).fit(learnt).save(tmp_path / "sizes")
    done = run("predict", paths[0], "--model", "./sizes", cwd=tmp_path)
    value = json.loads(run("predict", paths[0], "--model", "./sizes", "-f", "json", cwd=tmp_path).stdout)[0]["scores"]
    ((name, number),) = value.items()
    assert done.returncode == 0 and f"{name} {number:.4g}" in done.stdout, done.stderr
    refused = run("predict", paths[0], "--model", "./sizes", "--threshold", "0.5", cwd=tmp_path)
    assert refused.returncode == 2 and "leave out --threshold" in refused.stderr


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("x.jpg", "--model", "embedded/sprig"), "is a backbone that was trained on no task of yours"),
        (("x.jpg", "--model", "blooms-of-nobody"), "unknown model"),
        (("x.jpg", "--model", "SAVED", "--text"), "reads images; leave out --text"),
        (("x.jpg", "--model", "SAVED", "--format", "xml"), "no format 'xml'"),
        (("x.jpg", "--model", "SAVED", "--column", "text"), "--column goes with one table"),
        (("no*.jpg", "--model", "SAVED"), "no file matches the pattern"),
        (("-", "--model", "SAVED"), "nothing to predict: no paths on standard input"),
    ],
)
def test_wrong_use(run: Run, saved: Path, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = run("predict", *(str(saved) if word == "SAVED" else word for word in arguments), cwd=tmp_path)
    assert done.returncode == 2 and told in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


# The hub


@dataclass
class World:
    """A hub with a backbone, a home, and the command line in it."""

    hub: HubStandIn
    home: Path
    run: Run

    def __call__(self, *arguments: str, **more: str) -> Any:
        env = {**self.hub.environment(self.home), "MODELGRAFT_CACHE": str(self.home / "mg"), **more}
        return self.run(*arguments, env=env, cwd=self.home)


@pytest.fixture
def world(tmp_path: Path, run: Run) -> Iterator[World]:
    publish(tmp_path / "hub" / TINY.replace(":", "."), 0)
    (tmp_path / "home").mkdir()
    with HubStandIn(tmp_path / "hub") as hub:
        yield World(hub, tmp_path / "home", run)


def publish(folder: Path, seed: int) -> None:
    """A tiny model with random weights where the catalogue says that the real one is."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(timm.create_model("test_vit", num_classes=1000).state_dict(), folder / "model.safetensors")


@pytest.mark.full
def test_push_pull_and_predict_without_a_network(world: World, data: Path, tmp_path: Path) -> None:
    probed = world(
        "probe",
        str(data),
        "--model",
        TINY,
        "--head",
        "prototype",
        "--save",
        "mine",
        "--no-check-duplicates",
        "--device",
        "cpu",
    )
    assert probed.returncode == 0, probed.stderr
    backbone = world.hub.commit(TINY.replace(":", "."))
    card = json.loads((world.home / "mine" / "modelgraft_adapter.json").read_text())
    assert card["backbone"]["commit"] == backbone and card["backbone"]["repo"] == TINY.replace(":", ".")
    photos = [str(path) for path in sorted((data / "test").glob("*/*"))]
    here = json.loads(world("predict", *photos, "--model", "./mine", "-f", "json").stdout)

    listed = world("push", "mine", "me/blooms", "--dry-run")
    assert listed.returncode == 0 and not world.hub.created
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [
        "modelgraft_adapter.json",
        "head.safetensors",
        "README.md",
    ]
    world.hub.token_to_write = TOKEN
    for token, told in (("", "does not know who pushes"), ("hf_another", "does not let this token write")):
        refused = world("push", "mine", "me/blooms", *(("--token", token) if token else ()))
        assert refused.returncode == 1 and told in refused.stderr and "hf_another" not in refused.stderr
        assert refused.stderr.count("\n") == 1
    pushed = world("push", "mine", "me/blooms", "--private", "--token", TOKEN)
    assert pushed.returncode == 0, pushed.stderr
    assert TOKEN not in pushed.stdout + pushed.stderr
    assert pushed.stdout.strip() == f"{world.hub.endpoint}/me/blooms/commit/{world.hub.commit('me/blooms')}"
    assert world.hub.created["me/blooms"]["visibility"] == "private"
    there = world.hub.root / "me" / "blooms"
    for name in ("modelgraft_adapter.json", "head.safetensors"):
        assert (there / name).read_bytes() == (world.home / "mine" / name).read_bytes()
    page = (there / "README.md").read_text()
    assert 'FrozenAdapter.load("hub:me/blooms")' in page and "base_model: timm/test_vit.r160_in1k" in page

    # Somebody else, who has neither the adapter nor the backbone, and then no network.
    shutil.rmtree(world.home)
    world.home.mkdir()
    pulled = world("pull", "hub:me/blooms", "-f", "json")
    assert pulled.returncode == 0, pulled.stderr
    assert json.loads(pulled.stdout)[0]["files"] == 3 and json.loads(pulled.stdout)[0]["fetched"] > 1_000_000
    assert len(world.hub.seen("/timm/*/model.safetensors", "GET")) == 2  # when it was trained, and now
    offline = {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    away = world("predict", *photos, "--model", "hub:me/blooms", "-f", "json", **offline)
    assert away.returncode == 0, away.stderr
    for one, other in zip(here, json.loads(away.stdout), strict=True):
        assert one["label"] == other["label"] and one["scores"] == pytest.approx(other["scores"], abs=1e-6)
    locked = world("lock", "hub:me/blooms")
    assert locked.returncode == 0, locked.stderr
    same = world("--locked", "predict", *photos, "--model", "hub:me/blooms", "-f", "json", **offline)
    assert same.returncode == 0, same.stderr
    assert [row["label"] for row in json.loads(same.stdout)] == [row["label"] for row in here]


@pytest.mark.slow
def test_a_backbone_that_moves_on_does_not_take_the_adapter_with_it(world: World, data: Path) -> None:
    repo = world.hub.root / TINY.replace(":", ".")
    arguments = ("probe", str(data), "--model", TINY, "--head", "prototype", "--save", "mine", "--no-check-duplicates")
    assert world(*arguments).returncode == 0
    photos = [str(path) for path in sorted((data / "test").glob("*/*"))]
    before = world("predict", *photos, "--model", "./mine", "-f", "json").stdout
    old = repo.with_name(f"{repo.name}@old")
    shutil.copytree(repo, old)
    publish(repo, 1)
    shutil.rmtree(world.home / "mg")  # no feature that was kept can answer
    assert world("predict", *photos, "--model", "./mine", "-f", "json").stdout == before
    # Where the commit is gone too, it is told, and the adapter is not used on other weights.
    shutil.rmtree(old)
    shutil.rmtree(world.home / "hub")
    shutil.rmtree(world.home / "mg")
    gone = world("predict", *photos, "--model", "./mine")
    assert gone.returncode == 1 and gone.stdout == "" and "Traceback" not in gone.stderr
    assert "has no revision" in gone.stderr


@pytest.mark.full
def test_what_is_not_pushed(world: World, saved: Path, tmp_path: Path) -> None:
    for repo in ("me", "a/b/c", "me/bl ooms", "../x"):
        refused = world("push", str(saved), repo)
        assert refused.returncode == 2 and "it reads USER/REPO" in refused.stderr
    empty = world("push", str(world.home), "me/blooms")
    assert empty.returncode == 2 and "holds no saved adapter" in empty.stderr
    copy = Path(shutil.copytree(saved, tmp_path / "copy"))
    (copy / "head.safetensors").write_bytes(b"damaged")
    damaged = world("push", str(copy), "me/blooms")
    assert damaged.returncode == 1 and "is not the file that its card names" in damaged.stderr
    card = json.loads((copy / "modelgraft_adapter.json").read_text())
    del card["checksum"]  # changed on purpose, not damaged
    card["backbone"]["name"] = "file:/home/me/backbone"
    (copy / "modelgraft_adapter.json").write_text(json.dumps(card))
    local = world("push", str(copy), "me/blooms")
    assert local.returncode == 2 and "in a folder of this machine (/home/me/backbone)" in local.stderr
    nobody = world("push", str(saved), "me/blooms", HF_ENDPOINT="http://127.0.0.1:9")
    assert (
        nobody.returncode == 1
        and "check the network or HF_ENDPOINT" in nobody.stderr
        and "Traceback" not in nobody.stderr
    )
    assert not world.hub.created


# Items that are unlike the training data


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> tuple[Path, Path]:
    """Flowers, and an adapter of enough of them to know what is strange."""
    from modelgraft_adapters import FrozenAdapter

    folder = flowers(shared_data, tmp_path_factory.mktemp("more"), train=12, test=5)
    adapter = FrozenAdapter("embedded/sprig", "prototype", device="cpu", n_folds=2).fit(folder)
    return folder, adapter.save(tmp_path_factory.mktemp("saved") / "blooms")


@pytest.mark.full
def test_strange_items_have_a_column_and_a_line(run: Run, many: tuple[Path, Path], tmp_path: Path) -> None:
    from PIL import Image

    folder, adapter = many
    usual = run("predict", str(folder / "test"), "-m", str(adapter), "-f", "csv", "--ood", "--device", "cpu")
    assert usual.returncode == 0 and "unlike" not in usual.stderr, usual.stderr
    oods = [float(row["ood"]) for row in csv.DictReader(usual.stdout.splitlines())]
    assert len(oods) == 25 and all(1 / 61 - 1e-9 <= ood <= 1 for ood in oods)
    for n in range(22):
        noise = np.random.default_rng(n).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{n}.png")
    for kind, shown in (("table", "ood"), ("jsonl", '"ood":'), ("json", '"ood":')):
        done = run("predict", str(tmp_path), "-m", str(adapter), "-f", kind, "--ood", "--device", "cpu")
        assert done.returncode == 0 and shown in done.stdout
        (line,) = [line for line in done.stderr.splitlines() if "unlike" in line]
        assert line.startswith("modelgraft: these 22 items are unlike the training data (p = ")
    out = tmp_path / "rows.parquet"
    assert run("predict", str(tmp_path), "-m", str(adapter), "--ood", "-o", str(out), "--device", "cpu").returncode == 0
    import pyarrow.parquet as pq

    table = pq.read_table(out)
    assert str(table.schema.field("ood").type) == "double" and len(table) == 22
    plain = run("predict", str(tmp_path), "-m", str(adapter), "-f", "jsonl", "--device", "cpu")
    assert "ood" not in _rows(plain.stdout)[0] and "unlike" in plain.stderr


def test_an_adapter_that_cannot_say_what_is_strange(run: Run, data: Path, saved: Path) -> None:
    done = run("predict", str(data / "test"), "-m", str(saved), "--ood", "--device", "cpu")
    assert done.returncode == 2 and not done.stdout
    assert "it has no reference of what it was trained on" in done.stderr and done.stderr.count("\n") == 1
