"""What the model is judged on: test parts, and everything of the names that training never saw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from modelgraft_embedded.training.concepts import Concepts
from modelgraft_embedded.training.files import archive
from modelgraft_embedded.training.pictures import FOLDER_NAMES

FLOWERS = ["daisy", "dandelion", "rose", "sunflower", "tulip"]
PACS = ["dog", "elephant", "giraffe", "guitar", "horse", "house", "person"]
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


@dataclass(frozen=True)
class Test:
    """Pictures with the names to choose from."""

    title: str
    archive: str
    names: list[str]
    chosen: Callable[[list[str]], bool]  #: which parts of a member's path (split at "/") belong to it
    probe: Callable[[list[str]], bool] | None = None  #: pictures a linear probe may be fitted on
    held_out: bool = False  #: the pictures' names were never trained on

    def pictures(self, data: Path, concepts: Concepts, probe: bool = False) -> tuple[list[Image.Image], list[int]]:
        """RGB pictures and the index of each one's name in ``names``."""
        wanted = self.probe if probe else self.chosen
        assert wanted is not None
        images, labels = [], []
        synsets: list[str] = []
        for path, image in archive(data, self.archive):
            parts = path.split("/")
            if self.archive == "imagenet_samples":
                synsets.append(parts[-2])
                images.append(image)
            elif wanted(parts):
                images.append(image)
                labels.append(self.names.index(FOLDER_NAMES.get(parts[-2], parts[-2])))
        if not synsets:
            return images, labels
        # the rank of the folder's name is the class number
        number = {synset: rank for rank, synset in enumerate(sorted(synsets))}
        held = [
            (number[synset], image)
            for synset, image in zip(synsets, images, strict=True)
            if number[synset] in concepts.held_imagenet
        ]
        return [image for _, image in held], [concepts.held_imagenet.index(rank) for rank, _ in held]


def _pacs(domain: str) -> Test:
    return Test(
        f"PACS {domain.replace('_', ' ')}, 7 names",
        "pacs",
        PACS,
        lambda parts: parts[0] == "test" and parts[1] == domain,
        lambda parts: parts[0] == "train" and parts[1] == domain,
    )


def all_tests(concepts: Concepts) -> list[Test]:
    """In the order of the card."""

    def test_part(parts: list[str]) -> bool:
        return parts[0] == "test"

    def train_part(parts: list[str]) -> bool:
        return parts[0] == "train"

    def held_pacs(parts: list[str]) -> bool:
        return parts[1] == "photo" and parts[-2] in ("giraffe", "house")

    return [
        Test("CIFAR-10, 10 names", "cifar10", CIFAR, test_part, train_part),
        Test("flowers, 5 names", "flowers5", FLOWERS, test_part, train_part),
        Test("ants and bees, 2 names", "ants_bees", ["ant", "bee"], test_part, train_part),
        _pacs("photo"),
        _pacs("art_painting"),
        _pacs("cartoon"),
        _pacs("sketch"),
        Test("giraffe and house photographs among PACS's 7 names", "pacs", PACS, held_pacs, held_out=True),
        Test("giraffe or house, 2 names", "pacs", ["giraffe", "house"], held_pacs, held_out=True),
        Test("tulips among 5 flowers", "flowers5", FLOWERS, lambda parts: parts[-2] == "tulip", held_out=True),
        Test(
            "50 ImageNet classes, 50 names",
            "imagenet_samples",
            [names[0] for names in concepts.held_names],
            lambda parts: True,
            held_out=True,
        ),
    ]
