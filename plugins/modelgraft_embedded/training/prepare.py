"""All that training needs and that never changes between steps, computed once and kept in ``--work``."""

from __future__ import annotations

import time
from pathlib import Path

from safetensors.torch import load_file

from modelgraft_embedded.training import concepts as naming
from modelgraft_embedded.training.pictures import VIEWS, cifar_pixels, cifar_teacher, view_set
from modelgraft_embedded.training.teachers import ImageTeacher
from modelgraft_embedded.training.texts import prepare_texts


def prepare(data: Path, work: Path, seed: int) -> None:
    """Fill ``work``; what is there already is left alone, so an interrupted run goes on."""
    started = time.monotonic()
    work.mkdir(parents=True, exist_ok=True)
    names = naming.build(ImageTeacher(data).labels)
    names.save(work / "concepts.json")
    if not (work / "texts.json").exists():
        prepare_texts(work, names)
    for name in VIEWS:
        if not (work / f"views-{name}.safetensors").exists():
            view_set(data, work, names, name, seed)
    if not (work / "cifar.safetensors").exists():
        cifar_pixels(data, work, names, seed)
    cifar_teacher(data, work, load_file(work / "cifar.safetensors")["pixels"])
    print(f"prepared in {time.monotonic() - started:.0f} s", flush=True)
