"""Every model/tag pair of open_clip is an entry, and what an entry says is what the instantiated model is."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from modelgraft import resolve
from modelgraft.entry import Entry
from modelgraft.fields import check_entry
from modelgraft.shipped import read_catalogue, write_catalogue
from modelgraft_open_clip.catalogue import LIBRARY, SHIPPED, entries

ENTRIES = {entry.name: entry for entry in read_catalogue(SHIPPED)[1]}
MODELS = sorted({str(entry.loader["model"]) for entry in ENTRIES.values()})
SAMPLE = MODELS[::9]


@cache
def built(model: str) -> Any:
    from modelgraft_open_clip.measure import build

    return build(model).eval()


def test_every_pair_is_listed_and_sound() -> None:
    import open_clip

    assert set(ENTRIES) == {f"open_clip/{model}:{tag}" for model, tag in open_clip.list_pretrained()}
    assert list(ENTRIES) == sorted(ENTRIES)
    for entry in ENTRIES.values():
        check_entry(entry)
        assert entry.params and entry.embed_dim and entry.input_size and entry.max_tokens


def test_the_file_is_written_for_the_tested_version() -> None:
    import importlib.metadata

    assert read_catalogue(SHIPPED)[0] == importlib.metadata.version(LIBRARY)
    assert len(entries()) == 196


def check_figures(model: str) -> None:
    """Parameters, input size and embedding size of the model itself; the last by running it, on the meta device."""
    import torch

    module = built(model)
    params = sum(p.numel() for p in module.parameters())
    size = module.visual.image_size
    height, width = size if isinstance(size, (tuple, list)) else (size, size)
    with torch.device("meta"), torch.no_grad():
        embeddings = module.encode_image(torch.zeros(2, 3, height, width))
    mine = [entry for entry in ENTRIES.values() if entry.loader["model"] == model]
    assert mine
    for entry in mine:
        assert entry.params == params
        assert entry.input_size == (3, height, width)
        assert entry.embed_dim == embeddings.shape[1]
        assert (entry.score == "sigmoid") == (module.logit_bias is not None)


def check_texts(model: str) -> None:
    """The text tower takes the stated number of tokens and gives embeddings of the stated size."""
    import torch

    (entry, *_) = [entry for entry in ENTRIES.values() if entry.loader["model"] == model]
    module = built(model)
    with torch.device("meta"), torch.no_grad():
        if (
            "nllb" in model or "roberta" in model
        ):  # transformers looks into the mask, which the meta device does not have
            embeddings = module.text.proj(torch.zeros(2, module.text.config.hidden_size))
        else:
            embeddings = module.encode_text(torch.ones(2, int(entry.max_tokens or 0), dtype=torch.long))
    assert embeddings.shape == (2, entry.embed_dim)


@pytest.mark.full
@pytest.mark.parametrize("model", SAMPLE)
def test_figures(model: str) -> None:
    check_figures(model)
    check_texts(model)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_figures_of_every_model(model: str) -> None:
    check_figures(model)
    check_texts(model)


def test_preprocessing_is_the_tags() -> None:
    import open_clip

    for entry in ENTRIES.values():
        cfg = open_clip.get_pretrained_cfg(entry.loader["model"], entry.loader["tag"])
        stated = entry.preprocessing
        assert (stated["mean"], stated["std"]) == (list(cfg["mean"]), list(cfg["std"])), entry.name
        assert (stated["interpolation"], stated["resize_mode"]) == (cfg["interpolation"], cfg["resize_mode"])
        assert entry.input_size == (3, *stated["size"])
    # One architecture, two tags, two preprocessings: it does belong to the tag.
    squash, shortest = (ENTRIES[f"open_clip/ViT-H-14-quickgelu:{tag}"] for tag in ("dfn5b", "metaclip_fullcc"))
    assert (squash.preprocessing["resize_mode"], shortest.preprocessing["resize_mode"]) == ("squash", "shortest")


def test_quick_gelu_follows_the_tag() -> None:
    assert ENTRIES["open_clip/ViT-B-32:openai"].loader["quick_gelu"] is True
    assert "ViT-B-32-quickgelu" in str(ENTRIES["open_clip/ViT-B-32:openai"].note)
    assert "quick_gelu" not in ENTRIES["open_clip/ViT-B-32-quickgelu:openai"].loader
    assert "quick_gelu" not in ENTRIES["open_clip/ViT-B-32:laion2b_s34b_b79k"].loader


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip/ViT-B-32:laion2b_s34b_b79k"),
        ("ViT-B-32:laion2b_s34b_b79k", "open_clip/ViT-B-32:laion2b_s34b_b79k"),
        ("ViT-B/32:openai", "open_clip/ViT-B-32:openai"),
        ("open_clip/ViT-L/14:openai", "open_clip/ViT-L-14:openai"),
        ("open_clip/ViT-SO400M-14-SigLIP-384", "open_clip/ViT-SO400M-14-SigLIP-384:webli"),
        ("timm/ViT-SO400M-14-SigLIP-384", "open_clip/ViT-SO400M-14-SigLIP-384:webli"),
        ("apple/DFN2B-CLIP-ViT-B-16", "open_clip/ViT-B-16:dfn2b"),
        ("visheratin/nllb-siglip-mrl-base", "open_clip/nllb-clip-base-siglip:mrl"),
    ],
)
def test_other_spellings(spelling: str, name: str) -> None:
    assert resolve(spelling).name == name


def test_an_alias_names_one_entry() -> None:
    aliases = [alias for entry in ENTRIES.values() for alias in entry.aliases]
    assert len(aliases) == len(set(aliases))
    repos = {entry.weights.repo for entry in ENTRIES.values() if entry.weights}
    assert repos <= set(aliases)


def test_published_figures_are_open_clips() -> None:
    import csv

    from modelgraft.listing.benchmarks import ZERO_SHOT
    from modelgraft_open_clip.published import IMAGENET, RESULTS

    assert IMAGENET == ZERO_SHOT
    lines = RESULTS.read_text(encoding="utf-8").splitlines()
    assert "open_clip at commit " in lines[1] and "MIT" in lines[3]
    rows = {(r["model"], r["tag"]): r for r in csv.DictReader(line for line in lines if not line.startswith("#"))}
    assert len(rows) == 121
    twins = 0
    for entry in ENTRIES.values():
        model, tag = entry.loader["model"], entry.loader["tag"]
        own = rows.get((model, tag))
        quick = rows.get((f"{model}-quickgelu", tag)) if entry.loader.get("quick_gelu") else None
        plain = rows.get((model.removesuffix("-quickgelu"), tag)) if tag == "openai" else None
        row = quick or own or plain
        twins += row is not None and own is None
        assert entry.metrics.get(IMAGENET) == (None if row is None else round(100 * float(row["imagenet_1k"]), 2))
    assert sum(IMAGENET in entry.metrics for entry in ENTRIES.values()) == 121 + twins == 137
    # Weights trained with QuickGELU are loaded with it: open_clip's row of that name, taken without, is of another model.
    assert ENTRIES["open_clip/RN50:cc12m"].metrics == ENTRIES["open_clip/RN50-quickgelu:cc12m"].metrics
    assert ENTRIES["open_clip/RN50:cc12m"].metrics[IMAGENET] == 36.47


def test_renamed_pairs_lead_to_the_pair_that_is_listed_now() -> None:
    import open_clip
    from modelgraft.errors import RetiredNameWarning
    from modelgraft_open_clip.retired import RETIRED

    listed = set(open_clip.list_pretrained())
    for (model, tag), now in RETIRED.items():
        assert (model, tag) not in listed and now in listed
        with pytest.warns(RetiredNameWarning) as caught:
            assert resolve(f"open_clip/{model}:{tag}").name == "open_clip/{}:{}".format(*now)
        assert len(caught) == 1


def test_another_version_is_listed_anew(tmp_path: Path) -> None:
    """Known architectures keep their figures unmeasured, unknown ones are measured, tags that went are gone."""
    wrong = Entry.from_dict({**ENTRIES["open_clip/RN50:openai"].to_dict(), "params": 123})
    gone = Entry.from_dict({**ENTRIES["open_clip/RN50:openai"].to_dict(), "name": "open_clip/RN50:gone"})
    others = [e for e in ENTRIES.values() if e.loader["model"] not in ("RN50", "ViT-B-32", "xlm-roberta-base-ViT-B-32")]
    write_catalogue(tmp_path / "old.json", LIBRARY, "0.1", [*others, wrong, gone])
    found = {entry.name: entry for entry in entries(tmp_path / "old.json")}
    assert found.keys() == ENTRIES.keys()
    changed = {name for name, entry in found.items() if entry != ENTRIES[name]}
    assert changed == {name for name, entry in ENTRIES.items() if entry.loader["model"] == "RN50"}
    assert {found[name].params for name in changed} == {123}


def test_listing_imports_no_library() -> None:
    code = (
        "import sys, json\n"
        "from modelgraft_open_clip.plugin import modelgraft_entries\n"
        "n = len(list(modelgraft_entries()))\n"
        "heavy = {'torch', 'open_clip', 'timm', 'huggingface_hub', 'numpy', 'PIL'}\n"
        "print(json.dumps([n, sorted(heavy & sys.modules.keys())]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [196, []]


def test_the_file_reads_an_entry_a_line() -> None:
    lines = SHIPPED.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 198
    assert json.loads(lines[1].rstrip(","))["name"] == next(iter(ENTRIES))


def test_weights_of_an_architecture_that_is_not_there_hide_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """open_clip 2.26 lists weights of ViTamin-L-384, and has no configuration of it."""
    import open_clip
    from modelgraft_open_clip.describe import describe

    pairs = [("ViT-B-32", "openai"), ("ViT-none-such", "openai")]
    monkeypatch.setattr(open_clip, "list_pretrained", lambda: pairs)
    assert [entry.name for entry in describe(ENTRIES.values())] == ["open_clip/ViT-B-32:openai"]
