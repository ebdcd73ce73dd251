"""Which names are learned from images, and which are held out."""

from __future__ import annotations

from pathlib import Path

import pytest
from modelgraft_embedded.training.concepts import (
    CIFAR,
    HELD_COUNT,
    HELD_FOLDERS,
    SHARED_IMAGENET,
    Concepts,
    build,
)

LABELS = [f"thing {number}, item {number}" for number in range(1000)]


@pytest.fixture(scope="module")
def concepts() -> Concepts:
    return build(LABELS)


def test_held_out_names_are_nowhere_in_training(concepts: Concepts) -> None:
    assert len(concepts.held_imagenet) == HELD_COUNT
    assert not set(concepts.held_imagenet) & set(SHARED_IMAGENET)
    learned = {name.lower() for names in concepts.names for name in names}
    held = {name for names in concepts.held_names for name in names}
    held |= {name for names in HELD_FOLDERS.values() for name in names}
    assert not learned & held
    assert not set(concepts.imagenet) & set(concepts.held_imagenet)
    assert len(concepts.imagenet) + HELD_COUNT == 1000


def test_a_name_shared_with_a_held_out_class_is_dropped() -> None:
    held = build(LABELS).held_imagenet
    free = next(number for number in range(1000) if number not in held)
    labels = list(LABELS)
    labels[free] = f"own name, {LABELS[held[0]]}"
    found = build(labels)
    position = found.of_imagenet(free)
    assert position is not None and found.names[position] == ["own name"]


def test_the_choice_never_changes(concepts: Concepts) -> None:
    assert build(LABELS) == concepts


def test_relations(concepts: Concepts) -> None:
    dog, chihuahua = concepts.number("dog"), concepts.of_imagenet(152)
    pairs = set(concepts.related())
    assert chihuahua is not None and concepts.wider[chihuahua] == dog
    assert (dog, chihuahua) in pairs and (chihuahua, dog) in pairs
    assert all((b, a) in pairs for a, b in pairs)
    cifar = [concepts.number(name) for name in CIFAR]
    assert not any((a, b) in pairs for a in cifar for b in cifar)


def test_saved_and_read_again(concepts: Concepts, tmp_path: Path) -> None:
    concepts.save(tmp_path / "c.json")
    assert Concepts.load(tmp_path / "c.json") == concepts
