"""What may reach training: no test image, no held-out name, no copy of either."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from modelgraft_embedded.training import pictures
from modelgraft_embedded.training.concepts import build
from modelgraft_embedded.training.files import load_checkpoint, save_checkpoint, save_json, save_tensors
from PIL import Image
from safetensors.torch import load_file

CONCEPTS = build([f"thing {number}" for number in range(309)] + ["bee", "ant"] + [f"x {n}" for n in range(689)])


def noise(seed: int) -> Image.Image:
    random = torch.Generator().manual_seed(seed)
    return Image.frombytes("RGB", (40, 40), bytes(torch.randint(0, 256, (4800,), generator=random).tolist()))


def archive(folder: Path, name: str, members: dict[str, Image.Image]) -> None:
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for path, image in members.items():
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            info = tarfile.TarInfo(path)
            info.size = len(buffer.getvalue())
            tar.addfile(info, io.BytesIO(buffer.getvalue()))


class FakeTeacher:
    """Answers with the brightness of the image."""

    def __init__(self, data: Path) -> None:
        pass

    def __call__(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        level = pixels.float().mean((1, 2, 3)).half()[:, None]
        return level.expand(-1, 1280).contiguous(), level.expand(-1, 1000).contiguous()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(pictures, "ImageTeacher", FakeTeacher)
    folder = tmp_path / "data"
    folder.mkdir()
    archive(folder, "cifar10", {"train/dog/1.png": noise(1), "test/dog/2.png": noise(2)})
    archive(
        folder,
        "cifar10_train_full",
        {"train/dog/1.png": noise(1), "train/dog/9.png": noise(2), "train/cat/3.png": noise(3)},
    )
    archive(
        folder,
        "flowers5",
        {"train/tulip/1.png": noise(4), "train/rose/1.png": noise(5), "test/rose/2.png": noise(6)},
    )
    archive(
        folder,
        "ants_bees",
        {
            "train/ants/1.png": noise(7),
            "train/bees/2.png": noise(8),
            "test/bees/3.png": noise(9),
            "train/bees/4.png": noise(9),
        },
    )
    archive(
        folder,
        "pacs",
        {
            "train/photo/giraffe/1.png": noise(10),
            "train/sketch/house/2.png": noise(11),
            "train/photo/person/3.png": noise(12),
            "test/photo/dog/4.png": noise(13),
        },
    )
    yield folder


def test_test_pictures_and_their_copies_are_left_out(data: Path, tmp_path: Path) -> None:
    pictures.cifar_pixels(data, tmp_path, CONCEPTS, 0)
    found = load_file(tmp_path / "cifar.safetensors")
    # 9.png is the test image under a training name
    assert found["label"].tolist() == [CONCEPTS.number("dog"), CONCEPTS.number("cat")]
    assert found["pixels"].shape == (2, 3, 64, 64)


@pytest.mark.parametrize(
    ("name", "names"), [("flowers5", ["rose"]), ("ants_bees", ["ant", "bee"]), ("pacs", ["person"])]
)
def test_only_training_parts_of_known_names(data: Path, tmp_path: Path, name: str, names: list[str]) -> None:
    pictures.view_set(data, tmp_path, CONCEPTS, name, 0)
    found = load_file(tmp_path / f"views-{name}.safetensors")
    each = pictures.VIEWS[name]
    assert found["label"].tolist() == [CONCEPTS.number(n) for n in names for _ in range(each)]
    assert len(found["features"]) == len(found["scores"]) == len(found["pixels"]) == each * len(names)
    pictures.view_set(data, tmp_path / "again", CONCEPTS, name, 0)
    again = load_file(tmp_path / "again" / f"views-{name}.safetensors")
    assert all(torch.equal(found[key], again[key]) for key in found)


def test_teacher_answers_resume(data: Path, tmp_path: Path) -> None:
    pixels = torch.randint(0, 256, (20, 3, 64, 64), dtype=torch.uint8)
    pictures.cifar_teacher(data, tmp_path, pixels, part=3, batch=2)
    files = sorted(tmp_path.glob("cifar_teacher-*.safetensors"))
    first = torch.cat([load_file(path)["scores"] for path in files])
    assert len(files) == 3 and len(first) == 7
    files[1].unlink()
    pictures.cifar_teacher(data, tmp_path, pixels, part=3, batch=2)
    assert torch.equal(torch.cat([load_file(path)["scores"] for path in files]), first)


def test_files_are_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    save_checkpoint(path, {"a": torch.ones(2), "step": 3})
    with pytest.raises(TypeError):
        save_json(path, {"no such thing in JSON": object()})
    assert load_checkpoint(path)["step"] == 3
    save_tensors(path, {"a": torch.zeros(1)})
    assert [file.name for file in path.parent.iterdir() if not file.name.startswith(".")] == ["state"]
