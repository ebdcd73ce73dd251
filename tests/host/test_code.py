"""What one code has computed is never served as the answer of another: reinstalled, edited in place, editable, by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from modelgraft import Entry
from modelgraft.host import code
from modelgraft_adapters import ZeroShotClassifier
from modelgraft_adapters.features import identity
from modelgraft_adapters.features.extractor import FeatureExtractor
from PIL import Image

from tests.attacks.harness import Place
from tests.host.environments import build_wheel, write_project

# A dual encoder of colours that says how it reads texts, so that its label embeddings are kept.
PLUGIN = """
import torch
from modelgraft import Entry, ScoreRule, hookimpl

ORDER = {order}
WORDS = ("red", "green", "blue")

class Tints:
    embed_dim = 3
    def __init__(self, entry):
        self.entry, self.device = entry, torch.device("cpu")
        self.module = torch.nn.ParameterDict({{"scale": torch.nn.Parameter(torch.tensor(10.0))}})
    def preprocess(self, image):
        small = image.resize((8, 8), 4)
        return torch.tensor(list(small.getdata()), dtype=torch.float32).T.reshape(3, 8, 8) / 255
    def encode_image(self, pixels):
        return pixels.mean(dim=(2, 3))[:, ORDER]
    def encode_text(self, texts):
        return torch.eye(3)[[WORDS.index(t) for t in texts]][:, ORDER]
    def text_notes(self, texts):
        return []
    def tokens(self, texts):
        return [[WORDS.index(t)] for t in texts]
    def score_rule(self):
        return ScoreRule("softmax", 10.0)

@hookimpl
def modelgraft_entries():
    about = dict(modality="image-text", tasks=("features", "zero-shot"), embed_dim=3, templates=("{{}}",))
    return [Entry(name="{provider}/rgb", **about)]

@hookimpl
def modelgraft_load(entry, device, dtype, weights):
    return Tints(entry)
"""
STRAIGHT, TURNED = "[0, 1, 2]", "[2, 1, 0]"


def plugin(provider: str, order: str) -> str:
    return PLUGIN.format(provider=provider, order=order)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("code")
    with Place(folder / "place") as made:
        Image.new("RGB", (8, 8), (255, 128, 0)).save(folder / "orange.png")
        pip(made, "-e", write_project(folder / "draft", "modelgraft-draft", plugin("draft", STRAIGHT)))
        yield made


def pip(place: Place, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--python", place.python, "install", "-q", "--no-index", "--no-deps"]
    options = ["--no-build-isolation", "--force-reinstall", "--disable-pip-version-check"]
    subprocess.run([*command, *options, *arguments], check=True, capture_output=True, text=True)


def answers(place: Place, model: str) -> tuple[list[float], dict[str, float]]:
    """Features of the orange image, and its zero-shot scores, by two command lines."""
    picture = place.folder.parent / "orange.png"
    out = place.folder / "features.npy"
    done = place.run("embed", picture, "--model", model, "-o", out)
    assert done.code == 0, done.err
    found = np.load(out)[0].tolist()
    done = place.run("classify", picture, "--model", model, "--labels", "red,green,blue", "--format", "json")
    assert done.code == 0, done.err
    return [round(x, 3) for x in found], json.loads(done.out)[0]["scores"]


ORANGE, BGR = [1.0, 0.502, 0.0], [0.0, 0.502, 1.0]


def _check(place: Place, model: str, change: Any) -> None:
    features, scores = answers(place, model)
    assert features == ORANGE and max(scores, key=scores.__getitem__) == "red"
    assert answers(place, model) == (features, scores)  # taken from the caches
    change()
    turned, after = answers(place, model)
    assert turned == BGR and after == pytest.approx(scores)  # images and texts are both turned


@pytest.mark.full
def test_a_plugin_reinstalled_at_the_same_version(place: Place, tmp_path: Path) -> None:
    wheels = []
    for order in (STRAIGHT, TURNED):
        project = write_project(tmp_path / order[1], "modelgraft-tints", plugin("tints", order))
        wheels.append(build_wheel(project, tmp_path / f"wheels-{order[1]}"))
    pip(place, wheels[0])
    _check(place, "tints/rgb", lambda: pip(place, wheels[1]))


@pytest.mark.full
def test_an_editable_plugin_that_is_edited(place: Place) -> None:
    file = place.folder.parent / "draft" / "modelgraft_draft.py"
    _check(place, "draft/rgb", lambda: file.write_text(plugin("draft", TURNED)))


@pytest.mark.full
def test_a_plugin_edited_where_it_is_installed_its_times_put_back(place: Place) -> None:
    place.install("modelgraft-edited", plugin("edited", STRAIGHT))
    file = place.site / "modelgraft_edited.py"

    def edit() -> None:
        before = file.stat()
        file.write_text(plugin("edited", TURNED))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        for kept in (place.site / "__pycache__").glob("modelgraft_edited*"):
            kept.unlink()  # Python itself goes by times, and would run the old code

    _check(place, "edited/rgb", edit)


class ByHand:
    """A backbone of a user's own, in no plugin."""

    embed_dim = 3

    def __init__(self, scale: float = 1.0, order: Any = (0, 1, 2)) -> None:
        self.entry = Entry(name="mine/rgb", modality="image", tasks=("features",))
        self.device = torch.device("cpu")
        self.module = torch.nn.Linear(3, 3)
        with torch.no_grad():
            self.module.weight.copy_(torch.eye(3))
            self.module.bias.zero_()
        self.scale, self.order = scale, order

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        return torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1) / 255

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.scale * self.module(pixels.mean(dim=(2, 3)))[:, list(self.order)]


PICTURE = np.full((4, 4, 3), (255, 51, 0), np.uint8)


def test_two_of_one_class_with_other_settings_do_not_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))

    def features(backbone: ByHand) -> list[float]:
        found = FeatureExtractor(backbone).embed([PICTURE])
        return [round(float(x), 4) for x in found.features[0]]

    assert features(ByHand()) == [1.0, 0.2, 0.0]
    assert FeatureExtractor(ByHand()).embed([PICTURE]).encoded == 0
    assert features(ByHand(scale=2.0)) == [2.0, 0.4, 0.0]
    assert features(ByHand(order=[2, 1, 0])) == [0.0, 0.2, 1.0]
    assert features(ByHand(order=np.array([1, 0, 2]))) == [0.2, 1.0, 0.0]
    inner = ByHand()
    inner.module.register_buffer("shift", torch.ones(3), persistent=False)
    inner.module.register_forward_hook(lambda module, _, out: out + module.shift)
    assert features(inner) == [2.0, 1.2, 1.0]
    # Without it, the first one's answer is everybody's.
    monkeypatch.setattr(identity, "settings_digest", lambda backbone: "")
    assert features(ByHand()) == features(ByHand(scale=2.0))


def test_of_a_class_from_no_file_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    notebook = types.ModuleType("__notebook__")
    monkeypatch.setitem(sys.modules, "__notebook__", notebook)

    def cell(factor: float) -> Any:
        code = f"class Mine(ByHand):\n    def encode_image(self, pixels):\n        return {factor} * super().encode_image(pixels)\n"
        notebook.__dict__["ByHand"] = ByHand
        exec(code, notebook.__dict__)
        return notebook.__dict__["Mine"]()

    for factor in (1.0, 3.0):
        found = FeatureExtractor(cell(factor)).embed([PICTURE])
        assert found.features[0] == pytest.approx([factor, 0.2 * factor, 0.0])
    assert not (tmp_path / "features").exists() or not list((tmp_path / "features").glob("*/card.json"))
    monkeypatch.setattr(identity, "class_code_digest", lambda kind: "known")
    stale = [FeatureExtractor(cell(factor)).embed([PICTURE]).features[0].tolist() for factor in (1.0, 3.0)]
    assert stale[0] == stale[1]  # the wrong answer, with the guard taken out


def test_code_edited_under_the_running_process_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "edited_while_running"
    package.mkdir()
    (package / "__init__.py").write_text("class Mine: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    from edited_while_running import Mine  # type: ignore[import-not-found]

    first = code.class_code_digest(Mine)
    assert first and code.class_code_digest(Mine) == first
    (package / "helper.py").write_text("x = 1\n")
    assert code.class_code_digest(Mine) is None  # the old code runs, or the new if it was reloaded: nobody can tell
    (package / "helper.py").unlink()
    assert code.class_code_digest(Mine) == first


def test_where_code_lies_and_what_is_compiled_of_it_is_no_part_of_it(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / name / "package"
        (folder / "__pycache__").mkdir(parents=True)
        (folder / "__init__.py").write_text("x = 1\n")
        (folder / "__pycache__" / "x.pyc").write_bytes(name.encode())
    a, b = (code._digest([str(tmp_path / name / "package")]) for name in ("a", "b"))
    assert a == b
    (tmp_path / "b" / "package" / "data.bin").write_bytes(b"")
    assert code._digest([str(tmp_path / "b" / "package")]) != a


def test_the_digest_of_installed_code() -> None:
    assert code.plugin_code_digest("modelgraft", "modelgraft:timm") != code.plugin_code_digest(
        "modelgraft", "modelgraft:embedded"
    )
    assert code.plugin_code_digest("no-such-distribution") is None
    assert code.library_digest("torch") and code.library_digest("no-such-distribution") is None


def test_labels_of_a_model_with_the_same_sums_are_encoded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in another order have the same sum and the same sum of squares."""
    from tests.adapters.estimators.test_zero_shot import Encoder

    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    first, turned = Encoder(seed=5), Encoder(seed=5)
    with torch.no_grad():
        turned.module["text"].copy_(first.module["text"].flip(0))
    ZeroShotClassifier(first, ["one", "two"]).fit()
    ZeroShotClassifier(turned, ["one", "two"]).fit()
    assert turned.texts_encoded == 2


@pytest.mark.full
def test_another_precision_of_products_is_another_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELGRAFT_CACHE", str(tmp_path))
    before, card = torch.get_float32_matmul_precision(), FeatureExtractor(ByHand()).card
    try:
        torch.set_float32_matmul_precision("medium")  # bfloat16 on processors that have it
        assert FeatureExtractor(ByHand()).card != card
    finally:
        torch.set_float32_matmul_precision(before)
