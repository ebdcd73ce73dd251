"""Folders of models with one hostile or broken thing in each: sentence encoders, timm models, OpenCLIP models."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from tests.attacks.changes import run_changes
from tests.attacks.folder_cases import make_open_clip, make_timm, open_clip_cases, sentence_cases, timm_cases
from tests.attacks.harness import Done, Place, Verdict


def run(place: Place, photos: Path, minilm: Path) -> list[Verdict]:
    """All kinds of folders but adapters."""
    verdicts = []
    asked_of_texts = ["the match went to penalties", "shares fell"]
    texts = ["classify", "--text", *asked_of_texts, "--labels", "sports,business", "--format", "json"]
    base = place.folder / "minilm"
    shutil.copytree(minilm, base, ignore=shutil.ignore_patterns("__pycache__"))
    images = ["classify", str(photos), "--labels", "cat,cup", "--format", "json", "--device", "cpu"]
    embed = ["embed", str(photos), "--device", "cpu"]
    for kind, folder, cases, words in (
        ("folders of sentence encoders", base, sentence_cases, texts),
        ("folders of timm models", make_timm(place.folder / "timm"), timm_cases, embed),
        ("folders of OpenCLIP models", make_open_clip(place.folder / "openclip"), open_clip_cases, images),
    ):

        def asked(at: Path, words: list[str] = words) -> list[str]:
            return [*words, "--model", f"file:{at}", *(["-o", str(_rows(at))] if words is embed else [])]

        verdicts += run_changes(place, kind, folder, cases(place.secret, place.trap), asked, _answer)
    return verdicts


def _rows(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.npy")


def _answer(done: Done, folder: Path) -> Any:
    rows = _rows(folder)
    return rows.read_bytes() if rows.exists() else done.json()
