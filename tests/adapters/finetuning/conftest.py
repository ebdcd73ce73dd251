"""Real photographs in small numbers, and texts, for runs of seconds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from modelgraft_adapters.data.dataset import Dataset
from modelgraft_adapters.data.reading import read_data
from PIL import Image

CLASSES = ("cat", "frog", "truck")


def photographs(shared_data: Path, split: str, each: int, classes: tuple[str, ...] = CLASSES) -> Dataset:
    """CIFAR-10's, decoded: so many of each class."""
    counts = dict.fromkeys(classes, 0)
    items, labels = [], []
    with tarfile.open(shared_data / "cifar10.tar") as tar:
        for member in sorted(tar.getmembers(), key=lambda m: m.name):
            parts = Path(member.name).parts
            if len(parts) == 3 and parts[0] == split and counts.get(parts[1], each) < each:
                counts[parts[1]] += 1
                found = tar.extractfile(member)
                assert found is not None
                items.append(Image.open(io.BytesIO(found.read())).convert("RGB"))
                labels.append(parts[1])
    return read_data(items, labels, classes=list(classes))


@pytest.fixture(scope="session")
def train(shared_data: Path) -> Dataset:
    return photographs(shared_data, "train", 16)


@pytest.fixture(scope="session")
def test(shared_data: Path) -> Dataset:
    return photographs(shared_data, "test", 30)


@pytest.fixture(scope="session")
def texts() -> tuple[list[str], list[str]]:
    animals = ("dog", "cat", "horse", "bird", "frog", "deer")
    vehicles = ("car", "truck", "ship", "airplane", "bus", "train")
    frames = ("a {}", "a photo of a {}", "a drawing of the {}")
    items = [frame.format(word) for words in (animals, vehicles) for word in words for frame in frames]
    return items, ["animal"] * 18 + ["vehicle"] * 18
