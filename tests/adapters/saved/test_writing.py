"""Saved adapters: the same predictions after loading, a card that says all, and no harm from damaged or hostile ones."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modelgraft
import modelgraft_embedded
import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from modelgraft.errors import ModelgraftError, UnsafeWeightsError, UsageError
from modelgraft_adapters import FrozenAdapter, LinearProbe
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.saved.card import CARD_FILE, HEAD_FILE, README_FILE, REFERENCE_FILE, plain, read_card
from modelgraft_adapters.saved.model_card import readme
from safetensors.torch import load_file, save_file

from tests.adapters.flowers import flowers

MODEL = "embedded/sprig"
CLASSES = ["daisy", "dandelion", "rose", "sunflower", "tulip"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    return flowers(shared_data, tmp_path_factory.mktemp("flowers"), train=10, test=4)


@pytest.fixture(scope="module")
def fitted(data: Path) -> FrozenAdapter:
    adapter = FrozenAdapter(MODEL, "prototype", device="cpu", seed=3, class_weight={"rose": 2.0}).fit(data)
    adapter.evaluate(data)
    return adapter


@pytest.fixture(scope="module")
def original(fitted: FrozenAdapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("saved") / "blooms")


@pytest.fixture
def saved(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(original, tmp_path / "blooms"))


def _card(folder: Path) -> dict[str, Any]:
    """Without its checksum, as who changes it on purpose leaves it."""
    card: dict[str, Any] = json.loads((folder / CARD_FILE).read_text())
    card.pop("checksum", None)
    return card


def _pictures(data: Path) -> list[str]:
    return [str(path) for path in sorted((data / "test").glob("*/*"))]


# The same after loading


@pytest.mark.full
@pytest.mark.parametrize("head", sorted(spec.name for spec in modelgraft.list_heads() if "single-label" in spec.tasks))
def test_every_head_predicts_the_same_after_loading(head: str, data: Path, tmp_path: Path) -> None:
    spec = next(spec for spec in modelgraft.list_heads() if spec.name == head)
    adapter = FrozenAdapter(MODEL, head, device="cpu", n_folds=2)
    adapter.fit(data, unlabelled=_pictures(data)[:8] if "unlabelled" in spec.needs else None)
    before = adapter.predict_proba(_pictures(data))
    loaded = FrozenAdapter.load(adapter.save(tmp_path / head), device="cpu")
    assert np.array_equal(loaded.predict_proba(_pictures(data)), before)
    assert loaded.classes_.tolist() == CLASSES and loaded.notes_ == []
    assert loaded.report_["chosen"] == plain(adapter.report_["chosen"])
    assert loaded.head_ is not None and plain(loaded.head_.report()) == plain(adapter.report_)


@pytest.mark.full
@pytest.mark.parametrize("task", ["multi-label", "regression"])
@pytest.mark.parametrize("head", ["linear", "knn"])
def test_other_tasks_and_texts(task: str, head: str, tmp_path: Path, shared_data: Path) -> None:
    with (shared_data / "sts_small.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)][:60]
    longest = [float(len(text)) for text in texts]
    tags = [[name for name in ("a", "man", "the") if name in text.split()] for text in texts]
    learnt = read_data(texts, longest if task == "regression" else tags, modality="text", task=task)  # type: ignore[arg-type]
    adapter = FrozenAdapter(MODEL, head, device="cpu", n_folds=2).fit(learnt)
    folder = adapter.save(tmp_path / "it")
    loaded = FrozenAdapter.load(folder, device="cpu")
    assert loaded.task == task and np.array_equal(loaded.predict(texts), adapter.predict(texts))
    entry = modelgraft.resolve(str(folder))
    assert entry.modality == "text" and entry.tasks == (("regression" if task == "regression" else "classification"),)
    told = ModelCard.load(folder / README_FILE)
    assert told.data.pipeline_tag == (None if task == "regression" else "text-classification")
    assert 'predict "a text"' in told.text


@pytest.mark.full
def test_loading_needs_no_training_data_and_no_cache(data: Path, tmp_path: Path, fitted: FrozenAdapter) -> None:
    copy = Path(shutil.copytree(data, tmp_path / "copy"))
    adapter = FrozenAdapter(MODEL, "linear", device="cpu", n_folds=2).fit(copy)
    expected = adapter.predict_proba(_pictures(data)).tolist()
    folder = adapter.save(tmp_path / "probe")
    shutil.rmtree(copy)
    moved = folder.rename(tmp_path / "moved elsewhere")
    code = (
        "import json, sys; from modelgraft_adapters import FrozenAdapter; a = FrozenAdapter.load(sys.argv[1], device='cpu'); "
        "print(json.dumps(a.predict_proba(sys.argv[2:]).tolist()))"
    )
    env = {**os.environ, "MODELGRAFT_CACHE": str(tmp_path / "another cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(moved), *_pictures(data)], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert np.allclose(json.loads(done.stdout), expected, atol=1e-6)


@pytest.mark.full
def test_layer_and_dtype_are_kept(data: Path, tmp_path: Path) -> None:
    adapter = FrozenAdapter(MODEL, "prototype", layer="unprojected", dtype="bfloat16", device="cpu", n_folds=2).fit(
        data
    )
    loaded = FrozenAdapter.load(adapter.save(tmp_path / "it"), device="cpu")
    assert np.array_equal(loaded.predict_proba(_pictures(data)), adapter.predict_proba(_pictures(data)))
    card = _card(tmp_path / "it")["features"]
    assert (card["layer"], card["dtype"], card["modality"], card["width"]) == ("unprojected", "bfloat16", "image", 256)
    wide = FrozenAdapter.load(tmp_path / "it", device="cpu", dtype="float32")
    assert wide.extractor.card["precision"]["dtype"] == "float32"


def test_saved_again_it_says_the_same(original: Path, tmp_path: Path) -> None:
    again = FrozenAdapter.load(original, device="cpu").save(tmp_path / "again")
    assert _card(again) == _card(original)
    assert (again / HEAD_FILE).read_bytes() == (original / HEAD_FILE).read_bytes()


# A model by name


@pytest.mark.full
def test_a_folder_is_a_name(saved: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from modelgraft.project.local_names import register

    entry = modelgraft.resolve("./blooms")
    assert entry.name == f"adapter/file:{saved}" and entry.modality == "image" and entry.tasks == ("classification",)
    assert entry.licence == "Apache-2.0" and entry.embed_dim == 256
    assert entry.note is not None and "prototype on embedded/sprig" in entry.note and "accuracy" in entry.note
    assert modelgraft.resolve(entry.name) == entry  # what is shown can be given back
    register("petals", "./blooms")
    for model in (modelgraft.load("petals", device="cpu"), FrozenAdapter.load("blooms"), FrozenAdapter.load("petals")):
        assert isinstance(model, FrozenAdapter) and model.predict(_pictures(data)[:1])[0] in CLASSES
    # In its folder no file of ours is taken for another: a card is no file of aliases.
    monkeypatch.chdir(saved)
    assert modelgraft.resolve(".").name == entry.name and modelgraft.resolve(MODEL).name == MODEL
    with pytest.raises(UsageError, match="gives predictions and no embeddings"):
        LinearProbe(".").fit(data)
    with pytest.raises(UsageError, match="embedded/sprig is a backbone"):
        FrozenAdapter.load(MODEL)


def test_resolving_imports_no_torch(saved: Path) -> None:
    code = "import sys, modelgraft as m; m.model_info(sys.argv[1]); print([n for n in ('torch', 'numpy') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, str(saved)], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# The card


def test_the_card_says_all_it_takes(original: Path, fitted: FrozenAdapter) -> None:
    card = _card(original)
    assert card["modelgraft_adapter"] == 1 and re.fullmatch(r"\d{4}-\d\d-\d\d", card["created"])
    assert (card["task"], card["classes"]) == ("single-label", CLASSES)
    weights = Path(str(modelgraft_embedded.__file__)).parent / "weights" / "sprig.safetensors"
    backbone = card["backbone"]
    assert (
        backbone["name"] == MODEL and backbone["distribution"] == "modelgraft" and backbone["licence"] == "Apache-2.0"
    )
    assert backbone["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert backbone["preprocessing"]["mean"] == [0.48, 0.46, 0.42]
    assert card["head"]["name"] == "prototype" and card["head"]["distribution"] == "modelgraft"
    assert card["head"]["sha256"] == hashlib.sha256((original / HEAD_FILE).read_bytes()).hexdigest()
    tensors = load_file(original / HEAD_FILE)
    assert {name: about["shape"] for name, about in card["head"]["tensors"].items()} == {
        name: list(tensor.shape) for name, tensor in tensors.items()
    }
    training = card["training"]
    assert (training["seed"], training["n_folds"], training["class_weight"]) == (3, 5, {"rose": 2.0})
    assert training["data"]["items"] == 50 and training["data"]["per_class"] == [10] * 5
    assert training["report"]["chosen"] == fitted.report_["chosen"]
    assert {"python", "modelgraft", "torch", "numpy"} <= set(card["versions"])
    assert fitted.evaluation_ is not None
    assert card["evaluation"] == plain(fitted.evaluation_.record())
    accuracy = card["evaluation"]["scores"][0]
    assert accuracy["name"] == "accuracy" and accuracy["low"] < accuracy["value"] < accuracy["high"]
    json.dumps(card, allow_nan=False)


def test_the_fingerprint_is_of_contents_and_labels(data: Path, original: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for path in sorted((data / "train").glob("*/*")):
        target = copy / "train" / path.parent.name / f"renamed-{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def fingerprint(name: str) -> str:
        FrozenAdapter(MODEL, "prototype", device="cpu").fit(copy).save(tmp_path / name)
        return _card(tmp_path / name)["training"]["data"]["sha256"]

    stated = _card(original)["training"]["data"]["sha256"]
    assert fingerprint("same") == stated
    moved = next((copy / "train" / "rose").iterdir())
    moved.rename(copy / "train" / "tulip" / moved.name)
    assert fingerprint("relabelled") != stated


def test_equal_work_gives_equal_bytes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    one, two = (FrozenAdapter(MODEL, "prototype", device="cpu").fit(data).save(tmp_path / n / "it") for n in "ab")
    for name in (CARD_FILE, HEAD_FILE, README_FILE):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    assert _card(one)["created"] == "2001-09-09"


def test_the_page_is_a_model_card_of_the_hub(original: Path) -> None:
    page = ModelCard.load(original / README_FILE)
    data, card = page.data, _card(original)
    assert (data.library_name, data.license, data.pipeline_tag) == ("modelgraft", "apache-2.0", "image-classification")
    assert {"modelgraft", "prototype"} <= set(data.tags or [])
    assert data.eval_results is not None
    values = {result.metric_name: result.metric_value for result in data.eval_results}
    stated = {s["name"]: s["value"] for s in card["evaluation"]["scores"]}
    assert values == pytest.approx(stated, abs=1e-6)
    accuracy = card["evaluation"]["scores"][0]
    assert f"| accuracy | {accuracy['value']:.3f} | {accuracy['low']:.3f} to {accuracy['high']:.3f} |" in page.text
    assert "On 20 items that were not trained on." in page.text and "50 labelled items, 10 of each class" in page.text
    # The lines that it tells the reader to run do run.
    (code,) = re.findall(r"```python\n(.*?)```", page.text, re.S)
    compile(code, "README", "exec")
    assert 'FrozenAdapter.load("./blooms")' in code and "modelgraft predict" in page.text


def test_names_of_classes_are_no_markup(tmp_path: Path) -> None:
    texts = ["a red rose", "a blue sky", "red wine", "blue sea"]
    names = ["<b>x</b> | *y*\n# z", "---\nlicense: mit"]
    adapter = FrozenAdapter(MODEL, "prototype", modality="text", device="cpu", n_folds=2)
    adapter.fit(read_data(texts, [names[0], names[1]] * 2, modality="text", task="single-label"))
    page = (adapter.save(tmp_path / "it") / README_FILE).read_text()
    assert ModelCard(page).data.license == "apache-2.0"
    assert "<b>" not in page.replace("\\<b", "") and "\n# z" not in page
    assert FrozenAdapter.load(tmp_path / "it").classes_.tolist() == sorted(names)


# Writing


def test_a_saved_adapter_is_written_over_and_nothing_else_is(
    fitted: FrozenAdapter, saved: Path, tmp_path: Path
) -> None:
    (saved / "notes.txt").write_text("mine")
    (saved / HEAD_FILE).write_bytes(b"damaged")
    assert fitted.save(saved) == saved
    assert sorted(os.listdir(saved)) == sorted([README_FILE, REFERENCE_FILE, HEAD_FILE, CARD_FILE, "notes.txt"])
    assert (saved / "notes.txt").read_text() == "mine" and FrozenAdapter.load(saved).head_ is not None
    assert os.listdir(tmp_path) == ["blooms"]  # nothing is left over
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is not empty and holds no saved adapter"):
        fitted.save(foreign)
    assert os.listdir(foreign) == ["thesis.tex"]
    with pytest.raises(UsageError, match="is a file"):
        fitted.save(foreign / "thesis.tex")
    with pytest.raises(UsageError, match="is not fitted yet"):
        FrozenAdapter(MODEL, "prototype").save(tmp_path / "new")
    assert fitted.save(tmp_path / "deep" / "er").is_dir()
    mode = (tmp_path / "deep" / "er").stat().st_mode & 0o777
    assert mode == (tmp_path / "deep").stat().st_mode & 0o777  # as any folder, not one that is its maker's alone


def test_a_save_that_breaks_off_leaves_what_was(
    fitted: FrozenAdapter, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    calls = 0

    def full(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for target in (saved, tmp_path / "new"):
        calls = 0
        with pytest.raises(ModelgraftError, match=r"cannot be saved to .*: No space left on device"):
            fitted.save(target)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert os.listdir(tmp_path) == ["blooms"]


# Damaged, hostile, or in the wrong place


def _refused(folder: Path, **options: Any) -> str:
    with pytest.raises(ModelgraftError) as raised:
        FrozenAdapter.load(folder, device="cpu", **options)
    text = str(raised.value)
    assert "\n" not in text and len(text) < 1000
    return text


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(card: dict[str, Any]) -> None:
        for key in path[:-1]:
            card = card[key]
        card[path[-1]] = to

    return change


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(card: dict[str, Any]) -> None:
        for key in path[:-1]:
            card = card[key]
        del card[path[-1]]

    return change


CARDS = {
    "newer format": (_set("modelgraft_adapter", to=3), "has format 3, and this modelgraft reads 2; upgrade modelgraft"),
    "no format": (_set("modelgraft_adapter", to="1"), "'1' is no format number"),
    "no head": (_drop("head"), "wrong at head: it is missing"),
    "no backbone name": (_drop("backbone", "name"), "wrong at backbone.name: it is missing"),
    "no such task": (_set("task", to="world domination"), "wrong at task"),
    "classes twice": (_set("classes", to=["a"] * 5), "wrong at classes"),
    "other count of classes": (_set("classes", to=["a", "b"]), r"outputs of shape \(1, 5\) for 2 classes"),
    "huge width": (_set("features", "width", to=10**15), "wrong at features.width"),
    "other width": (_set("features", "width", to=255), "cannot be made from"),
    "width as text": (_set("features", "width", to="256"), "wrong at features.width"),
    "a path for a name": (_set("backbone", "name", to="../../etc/passwd"), "is no full name of a model"),
    "an alias for a name": (_set("backbone", "name", to="sprig"), "is no full name of a model"),
    "option for a revision": (_set("backbone", "revision", to="--upload-pack=x"), "wrong at backbone.revision"),
    "a folder that is not there": (_set("backbone", "name", to="file:/no/such/folder"), "there is no folder or file"),
    "unknown backbone": (
        _set("backbone", "name", to="acme/giant:v7"),
        r"'acme/giant:v7' of .* is not known here; install the distribution that brought it \(modelgraft",
    ),
    "itself": (_set("backbone", "name", to="adapter/x"), "is a saved adapter, and no backbone"),
    "a revision in the name": (_set("backbone", "name", to="timm/resnet18@main"), "is no full name of a model"),
    "other backbone": (_set("backbone", "sha256", to="0" * 64), "its weights here are others"),
    "head of nobody": (
        lambda card: card["head"].update(name="oracle", distribution="modelgraft-oracle", version="2.0"),
        "'oracle' of .* is not installed; it was brought by the distribution modelgraft-oracle 2.0: install that "
        r"\(pip install modelgraft-oracle\)",
    ),
    "shell for a distribution": (_set("head", "distribution", to="x; rm -rf ~"), "no name of a distribution"),
    "other digest of the head": (_set("head", "sha256", to="ab" * 32), "is not the file that its card names"),
    "other shape": (
        _set("head", "tensors", "prototypes", "shape", to=[5, 255]),
        r"is float32 \[5, 256\], and its card says",
    ),
    "a tensor more": (
        _set("head", "tensors", "ghost", to={"dtype": "int8", "shape": []}),
        "tensor 'ghost' of .* is not there",
    ),
    "negative shape": (_set("head", "tensors", "prototypes", "shape", to=[-1]), "is no dtype and shape"),
    "settings gone": (_set("head", "settings", to={}), "cannot be made from"),
    "settings of a wrong type": (_set("head", "settings", "temperature", to="hot"), "cannot be made from"),
    "score of text": (_set("evaluation", "scores", to=[{"name": "x", "value": "y"}]), "wrong at evaluation.scores"),
    "deep": (_set("notes", to=[[[[[1]]]]]), "wrong at notes"),
}


@pytest.mark.full
@pytest.mark.parametrize("what", CARDS)
def test_a_wrong_card_is_told_in_one_line(what: str, saved: Path) -> None:
    change, told = CARDS[what]
    card = _card(saved)
    change(card)
    (saved / CARD_FILE).write_text(json.dumps(card))
    assert re.search(told, _refused(saved))


def test_a_layer_that_is_not_there_is_told_at_the_first_item(saved: Path, data: Path) -> None:
    card = _card(saved)
    card["features"]["layer"] = "heart"
    (saved / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(UsageError, match="has no layer 'heart'"):
        FrozenAdapter.load(saved, device="cpu").predict(_pictures(data)[:1])


def test_a_card_that_is_no_json(saved: Path) -> None:
    for text in ("", "{", "[1]", "[" * 100_000, '{"a": NaN}', '{"modelgraft_adapter": 1' + "0" * 5000 + "}", "\xff"):
        (saved / CARD_FILE).write_text(text, encoding="latin-1")
        _refused(saved)


@pytest.mark.full
def test_no_value_anywhere_in_a_card_breaks_the_reader(saved: Path) -> None:
    """Every field of the card replaced by junk of every kind: an adapter that works, or an error of ours in one line."""
    card = _card(saved)
    junk = [None, True, -1, 10**400, 1e308, "", "a\nb", "../../x", "\u202e", [], [[]], {}, {"a": None}, ["x"] * 3]
    seen = 0

    def nodes(at: Any) -> list[tuple[Any, Any]]:
        items = list(at.items()) if isinstance(at, dict) else list(enumerate(at))[:2] if isinstance(at, list) else []
        return [(at, key) for key, _ in items] + [pair for _, value in items for pair in nodes(value)]

    places = nodes(card)
    sampled = random.Random(0)
    for holder, key in places:
        was = holder[key]
        for value in junk:
            holder[key] = value
            try:
                found = read_card(json.loads(json.dumps(card)), "it")
                found.summary()
                if sampled.random() < 0.05:
                    ModelCard(readme(found, "./it"))
            except ModelgraftError as error:
                seen += 1
                assert "\n" not in str(error) and len(str(error)) < 1000
            if sampled.random() < 0.02:
                (saved / CARD_FILE).write_text(json.dumps(card))
                try:
                    loaded = FrozenAdapter.load(saved, device="cpu")
                    loaded.save(saved.parent / "again")
                except ModelgraftError as error:
                    assert "\n" not in str(error)
        holder[key] = was
    assert len(places) > 80 and seen > 300


def test_a_head_that_is_not_whole_is_refused(saved: Path) -> None:
    good = (saved / HEAD_FILE).read_bytes()
    for bad in (good[:-1], good[:10], b"", good[:-4] + b"\0\0\0\1", b"\x80\x04cos\nsystem\n"):
        (saved / HEAD_FILE).write_bytes(bad)
        with pytest.raises(UnsafeWeightsError, match="is not the file that its card names"):
            FrozenAdapter.load(saved)
        # A card that was made to fit does not help.
        card = _card(saved)
        card["head"]["sha256"] = hashlib.sha256(bad).hexdigest()
        (saved / CARD_FILE).write_text(json.dumps(card))
        if bad[:-4] != good[:-4]:
            assert "cannot be read" in _refused(saved)
    (saved / HEAD_FILE).unlink()
    assert "holds no head.safetensors" in _refused(saved)


def test_a_tensor_of_another_shape_is_refused(saved: Path) -> None:
    tensors = load_file(saved / HEAD_FILE)
    tensors["prototypes"] = tensors["prototypes"][:, :100].contiguous()
    save_file(tensors, saved / HEAD_FILE)
    card = _card(saved)
    card["head"]["sha256"] = hashlib.sha256((saved / HEAD_FILE).read_bytes()).hexdigest()
    (saved / CARD_FILE).write_text(json.dumps(card))
    assert "the tensor 'prototypes'" in _refused(saved)
    card["head"]["tensors"]["prototypes"]["shape"] = [5, 100]
    (saved / CARD_FILE).write_text(json.dumps(card))
    assert "the head 'prototype' cannot be made from" in _refused(saved)


def test_an_adapter_on_an_adapter_is_refused(saved: Path, tmp_path: Path) -> None:
    """A card that names its own folder as its backbone does not go round in a circle."""
    card = _card(saved)
    card["backbone"]["name"] = f"file:{saved}"
    (saved / CARD_FILE).write_text(json.dumps(card))
    assert "is itself a saved adapter" in _refused(saved)


@pytest.mark.full
def test_a_backbone_that_was_changed_must_be_given(data: Path, tmp_path: Path) -> None:
    def changed(seed: int) -> Any:
        backbone: Any = modelgraft.load(MODEL, device="cpu")
        torch.manual_seed(seed)
        with torch.no_grad():
            for parameter in backbone.module.parameters():
                parameter += 0.01 * parameter.std() * torch.randn_like(parameter) if parameter.numel() > 1 else 0
        return backbone

    adapter = FrozenAdapter(changed(0), "prototype", n_folds=2).fit(data)
    folder = adapter.save(tmp_path / "it")
    assert "its weights here are others" in _refused(folder)
    assert "its weights here are others" in _refused(folder, model=changed(1))
    loaded = FrozenAdapter.load(folder, model=changed(0))  # type: ignore[call-arg]
    assert np.array_equal(loaded.predict_proba(_pictures(data)), adapter.predict_proba(_pictures(data)))


def test_a_backbone_as_loaded_is_the_one_of_its_name(data: Path, tmp_path: Path) -> None:
    # Stored features may be those of other batches, which differ in their last bits.
    adapter = FrozenAdapter(modelgraft.load(MODEL, device="cpu"), "prototype", n_folds=2, store=False).fit(data)
    loaded = FrozenAdapter.load(adapter.save(tmp_path / "it"), device="cpu", store=False)  # type: ignore[call-arg]
    assert np.array_equal(loaded.predict_proba(_pictures(data)), adapter.predict_proba(_pictures(data)))
