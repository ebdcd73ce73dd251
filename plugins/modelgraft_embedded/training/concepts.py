"""The names the picture side learns, how they relate, and which names it must never see."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path

HELD_SEED = 0
HELD_COUNT = 50
#: names of the other sets that are kept out of training altogether, as folder names
HELD_FOLDERS = {"pacs": ("giraffe", "house"), "flowers5": ("tulip",)}
#: ImageNet classes that other training sets show too (bee, ant, daisy): they cannot be held out
SHARED_IMAGENET = (309, 310, 985)

CIFAR = {
    "airplane": ["airplane", "plane", "aeroplane", "aircraft"],
    "automobile": ["automobile", "car", "auto"],
    "bird": ["bird"],
    "cat": ["cat", "kitten"],
    "deer": ["deer", "stag"],
    "dog": ["dog", "puppy"],
    "frog": ["frog"],
    "horse": ["horse", "pony"],
    "ship": ["ship", "boat", "vessel"],
    "truck": ["truck", "lorry"],
}
OTHERS = {
    "elephant": ["elephant"],
    "guitar": ["guitar"],
    "person": ["person", "man", "woman", "human"],
    "dandelion": ["dandelion"],
    "rose": ["rose"],
    "sunflower": ["sunflower"],
}
#: a wider name -> the ImageNet class numbers it covers (ends included): their pictures are pictures of it
WIDER: dict[str, list[tuple[int, int]]] = {
    "airplane": [(404, 404), (895, 895)],
    "automobile": [
        (407, 407),
        (436, 436),
        (468, 468),
        (511, 511),
        (609, 609),
        (627, 627),
        (656, 656),
        (661, 661),
        (751, 751),
        (817, 817),
    ],
    "bird": [(7, 24), (80, 100), (127, 146)],
    "cat": [(281, 285)],
    "dog": [(151, 268)],
    "frog": [(30, 32)],
    "horse": [(339, 339)],
    "ship": [
        (403, 403),
        (484, 484),
        (510, 510),
        (554, 554),
        (625, 625),
        (628, 628),
        (724, 724),
        (780, 780),
        (814, 814),
        (914, 914),
    ],
    "truck": [(555, 555), (569, 569), (675, 675), (717, 717), (864, 864), (867, 867)],
    "elephant": [(101, 101), (385, 386)],
    "guitar": [(402, 402), (546, 546)],
    "person": [(981, 983)],
    "flower": [(985, 986)],
    "fish": [(0, 6), (389, 397)],
    "snake": [(52, 68)],
    "spider": [(72, 77)],
    "lizard": [(38, 48)],
    "turtle": [(33, 37)],
    "insect": [(300, 320)],
    "butterfly": [(321, 326)],
    "bear": [(294, 297)],
    "monkey": [(365, 382)],
    "fruit": [(948, 957)],
    "coffee": [(504, 505), (967, 967)],
    "rocket": [(657, 657), (744, 744), (812, 812)],
}
WIDER_NAMES = {"coffee": ["coffee", "cup of coffee"], "monkey": ["monkey", "ape"]}
FLOWERS = ("dandelion", "rose", "sunflower")


@dataclass
class Concepts:
    """``names[i]`` are the names of concept i, the first one being the usual one."""

    names: list[list[str]] = field(default_factory=list)
    imagenet: list[int] = field(default_factory=list)  #: class number (0-999) of concept i, for the first ones
    wider: dict[int, int] = field(default_factory=dict)  #: concept -> its wider concept
    held_imagenet: list[int] = field(default_factory=list)
    held_names: list[list[str]] = field(default_factory=list)

    def number(self, name: str) -> int:
        """The concept whose usual name this is; ImageNet's come last in doubt."""
        found = [i for i in reversed(range(len(self.names))) if self.names[i][0] == name]
        return found[0]

    def of_imagenet(self, number: int) -> int | None:
        """The concept of an ImageNet class, None for a held-out one."""
        return self.imagenet.index(number) if number in self.imagenet else None

    def related(self) -> list[tuple[int, int]]:
        """Pairs that do not exclude each other, so that neither is a wrong answer for the other."""
        pairs = set(self.wider.items())
        by_name: dict[str, list[int]] = {}
        for concept, names in enumerate(self.names):
            for name in names:
                by_name.setdefault(name.lower(), []).append(concept)
        for group in by_name.values():
            pairs |= {(a, b) for a in group for b in group if a != b}
        return sorted(pairs | {(b, a) for a, b in pairs})

    def save(self, path: Path) -> None:
        """As JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Concepts:
        """From JSON, whose keys are texts."""
        values = json.loads(path.read_text(encoding="utf-8"))
        values["wider"] = {int(k): v for k, v in values["wider"].items()}
        return cls(**values)


def build(label_names: list[str]) -> Concepts:
    """All concepts from ImageNet's 1,000 label texts ("tench, Tinca tinca"), without the held-out ones."""
    everything = [[name.strip() for name in text.split(",")] for text in label_names]
    free = [number for number in range(len(everything)) if number not in SHARED_IMAGENET]
    held = sorted(random.Random(HELD_SEED).sample(free, HELD_COUNT))
    barred = {name.lower() for number in held for name in everything[number]}
    barred |= {name for names in HELD_FOLDERS.values() for name in names}
    concepts = Concepts(held_imagenet=held, held_names=[everything[number] for number in held])
    for number, names in enumerate(everything):
        # a name that a held-out class has too must not be learned from pictures under another class
        kept = [name for name in names if name.lower() not in barred]
        if number not in held and kept:
            concepts.imagenet.append(number)
            concepts.names.append(kept)
    extra = {**CIFAR, **OTHERS}
    for name in WIDER:
        extra.setdefault(name, WIDER_NAMES.get(name, [name]))
    start = len(concepts.names)
    position = {name: start + index for index, name in enumerate(extra)}
    concepts.names += [[name for name in names if name not in barred] for names in extra.values()]
    for name, ranges in WIDER.items():
        for first, last in ranges:
            for number in range(first, last + 1):
                member = concepts.of_imagenet(number)
                if member is not None:
                    concepts.wider[member] = position[name]
    for name in FLOWERS:
        concepts.wider[position[name]] = position["flower"]
    return concepts
