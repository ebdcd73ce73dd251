"""The shipped catalogue is the installed timm: the same names, the same facts, the figures of the instantiated models."""

from __future__ import annotations

import collections
import importlib.metadata
import random
import subprocess
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.data
import torch
from modelgraft.entry import Entry
from modelgraft.fields import check_entry
from modelgraft.listing.catalogue import Catalogue
from modelgraft.shipped import read_catalogue, write_catalogue
from modelgraft_timm import catalogue
from modelgraft_timm.describe import describe
from modelgraft_timm.names import entry_name, timm_name
from modelgraft_timm.plugin import modelgraft_entries

VERSION, ENTRIES = read_catalogue(catalogue.SHIPPED)
BY_NAME = {entry.name: entry for entry in ENTRIES}

pytestmark = pytest.mark.skipif(
    importlib.metadata.version("timm") != VERSION, reason=f"the shipped catalogue is of timm {VERSION}"
)


@pytest.fixture(scope="module")
def table() -> Catalogue:
    return Catalogue((entry.to_dict(), {"distribution": "modelgraft", "name": "timm"}) for entry in ENTRIES)


def test_every_pretrained_model_of_timm_once_and_no_other() -> None:
    assert collections.Counter(timm_name(e) for e in ENTRIES) == collections.Counter(timm.list_pretrained())
    assert list(modelgraft_entries()) == ENTRIES
    assert [e.name for e in ENTRIES] == sorted(e.name for e in ENTRIES)
    for entry in ENTRIES:
        check_entry(entry)
        assert entry.name == entry_name(timm_name(entry))


def test_reading_it_imports_no_model_library() -> None:
    code = (
        "import sys; from modelgraft_timm.plugin import modelgraft_entries; n = len(list(modelgraft_entries()))\n"
        "print(n, sorted({'torch', 'timm', 'numpy', 'PIL', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(ENTRIES)} []"


def test_facts_are_those_of_timm() -> None:
    for entry in ENTRIES:
        config = timm.get_pretrained_cfg(entry.loader.get("built_as", timm_name(entry)))
        assert config is not None
        weights = entry.weights
        assert weights is not None
        if config.hf_hub_id:
            assert (weights.repo, weights.filename, weights.url) == (config.hf_hub_id, config.hf_hub_filename, None)
        else:
            assert (weights.repo, weights.url) == (None, config.url)
        assert entry.licence == config.license
        assert entry.modality == "image" and "features" in entry.tasks
        if "classification" in entry.tasks:
            assert config.num_classes > 0
        elif config.num_classes > 0:  # the size of a text-image space, not a number of classes
            assert "clip" in entry.name or "pe_core" in entry.name
            assert entry.note and "text-image" in entry.note
        if config.license and "nc" in config.license.split("-"):
            assert entry.note and entry.note.startswith("non-commercial licence")
        if config.test_input_size is not None:
            assert entry.preprocessing["test_input_size"] == list(config.test_input_size)


@pytest.mark.full
def test_default_tags_are_timms(table: Catalogue) -> None:
    architectures = {entry.name.partition(":")[0] for entry in ENTRIES}
    for architecture in architectures:
        entry = table.find(architecture)
        assert entry.default
        config = timm.get_pretrained_cfg(architecture.removeprefix("timm/"))
        assert config is not None and timm_name(entry).partition(".")[2] == (config.tag or "")
    assert sum(entry.default for entry in ENTRIES) == len(architectures)


@pytest.mark.full
def test_every_alias_leads_to_its_entry(table: Catalogue) -> None:
    for entry in ENTRIES:
        assert f"timm/{timm_name(entry)}" in entry.aliases
        for alias in entry.aliases:
            assert table.find(alias).name == entry.name
    for spelling, name in {
        "timm/resnet50.a1_in1k": "timm/resnet50:a1_in1k",
        "resnet50.a1_in1k": "timm/resnet50:a1_in1k",
        "microsoft/Florence-2-base": "timm/davit_base_fl:msft_florence2",
        # one repository, two models: the one whose name it is
        "timm/vit_base_patch16_clip_224.openai": "timm/vit_base_patch16_clip_224:openai",
    }.items():
        assert table.find(spelling).name == name


def test_every_name_that_timm_has_deprecated_still_resolves_and_warns(table: Catalogue) -> None:
    from modelgraft.errors import RetiredNameWarning, UnknownModelError
    from timm.models._registry import get_deprecated_models

    gone = []
    for old, current in get_deprecated_models().items():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = table.find(f"timm/{old}")
            except UnknownModelError:
                gone.append(old)
                continue
        assert [w.category for w in caught] == [RetiredNameWarning] and found.name in str(caught[0].message)
        assert timm_name(found) == current or timm_name(found).partition(".")[0] == current
    # timm itself cannot build these two: it maps them to tags that it no longer has.
    assert sorted(gone) == ["vit_base_patch16_224_sam", "vit_base_patch32_224_sam"]
    assert sum(len(entry.retired) for entry in ENTRIES) == len(get_deprecated_models()) - 2


def test_published_figures_are_those_of_the_results_and_of_this_picture_size() -> None:
    import csv

    from modelgraft.listing.benchmarks import CLASSIFICATION
    from modelgraft_timm.published import RESULTS, TOP_1

    assert TOP_1 == CLASSIFICATION
    lines = RESULTS.read_text(encoding="utf-8").splitlines()
    assert "pytorch-image-models at commit " in lines[1] and "Apache License 2.0" in lines[2]
    published = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(published) == 1556
    own_size = 0
    for row in published:
        entry = BY_NAME[entry_name(row["model"])]
        assert entry.input_size is not None and "classification" in entry.tasks
        own = int(row["img_size"]) == entry.input_size[2]
        own_size += own
        assert entry.metrics[TOP_1 if own else f"ImageNet-1k top-1 at {row['img_size']} px (%)"] == float(row["top1"])
    # No figure comes from anywhere else.
    assert own_size == sum(TOP_1 in entry.metrics for entry in ENTRIES) == 1266
    assert sum(len(entry.metrics) for entry in ENTRIES) == 2 * len(published)


def mismatches(entries: Iterable[Entry], device: str) -> list[str]:
    """Entries whose figures are not those of the model that timm builds, a line each."""
    wrong = []
    for entry in entries:
        with torch.device(device), torch.inference_mode():
            model: Any = timm.create_model(timm_name(entry)).eval()
            size = tuple(timm.data.resolve_data_config({}, model=model)["input_size"])
            pixels = torch.zeros(2, *size)
            if hasattr(model, "reset_classifier"):
                shape = tuple(model.forward_head(model.forward_features(pixels), pre_logits=True).shape)
            else:  # a tower without a head gives tokens
                shape = tuple(model(pixels)[:, 0].shape)
        seen = (sum(p.numel() for p in model.parameters()), shape, model.head_hidden_size, size)
        told = (entry.params, (2, entry.embed_dim), entry.embed_dim, entry.input_size)
        if seen != told:
            wrong.append(f"{entry.name}: the catalogue says {told}, the model {seen}")
    return wrong


@pytest.mark.full
def test_figures_of_a_sample_with_real_tensors() -> None:
    small = [e for e in ENTRIES if e.params is not None and e.params < 30e6 and (e.input_size or (0, 0, 999))[2] <= 320]
    assert mismatches(random.Random(20).sample(small, 25), "cpu") == []


def test_figures_that_differ_between_tags_of_an_architecture() -> None:
    """Their builders read more from the tag than class count and image size."""
    tags = [e for e in ENTRIES if e.name.startswith("timm/deepseek_vit_412m_align:")]
    assert len({e.params for e in tags}) == len(tags) == 2
    assert mismatches(tags, "meta") == []


def test_a_name_that_timm_builds_another_model_under_says_so() -> None:
    entry = BY_NAME["timm/vitamin_xlarge_336:datacomp1b_clip"]
    assert entry.weights is not None and entry.weights.repo == "jienengchen/ViTamin-XL-256px"
    assert entry.note is not None and "timm loads vitamin_xlarge_256.datacomp1b_clip under this name" in entry.note
    assert [e.name for e in ENTRIES if "built_as" in e.loader] == [entry.name]
    assert mismatches([entry], "meta") == []


@pytest.mark.slow
def test_figures_of_every_model() -> None:
    wrong = mismatches(ENTRIES, "meta")
    print(f"{len(ENTRIES)} models instantiated, {len(wrong)} mismatches", *wrong, sep="\n")
    assert wrong == []


def test_another_timm_version_is_described_anew(tmp_path: Path) -> None:
    """An old catalogue lacks some models and tags: they come back, with the figures of models nobody measured for it."""
    gone = {"timm/test_vit:r160_in1k", "timm/qwen3_vit_88m_enc:qwen3_5_0_8b", "timm/resnet50:a1_in1k"}
    assert gone <= BY_NAME.keys()
    extra = Entry(name="timm/no_longer_in_timm:tag", modality="image", tasks=("features",), loader={"num_classes": 0})
    old = tmp_path / "catalogue.json"
    write_catalogue(old, catalogue.LIBRARY, "0.0.1", [extra, *(e for e in ENTRIES if e.name not in gone)])
    rebuilt = catalogue.entries(old)
    assert rebuilt == ENTRIES


def test_known_figures_are_reused_and_unknown_ones_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelgraft_timm import describe as module

    measured: list[str] = []
    real = module.measure
    monkeypatch.setattr(module, "measure", lambda name: (measured.append(name), real(name))[1])
    marked = [
        replace(e, params=7) if e.name.startswith("timm/resnet18:") else e
        for e in ENTRIES
        if not e.name.startswith(("timm/test_vit:", "timm/test_resnet:"))
    ]
    found = {e.name: e for e in describe(marked)}
    assert measured == ["test_resnet.r160_in1k", "test_vit.r160_in1k"]
    assert found["timm/test_vit:r160_in1k"] == BY_NAME["timm/test_vit:r160_in1k"]
    assert {e.params for n, e in found.items() if n.startswith("timm/resnet18:")} == {7}


def test_a_model_that_cannot_be_measured_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelgraft_timm import describe as module

    def broken(name: str) -> Any:
        raise ImportError(f"{name} needs a package that is not here")

    monkeypatch.setattr(module, "measure", broken)
    found = describe([e for e in ENTRIES if not e.name.startswith("timm/test_vit:")])
    assert len(found) == len(ENTRIES)
    [bare] = [e for e in found if e.name == "timm/test_vit:r160_in1k"]
    assert (bare.params, bare.embed_dim, bare.input_size) == (None, None, (3, 160, 160))


def test_what_needs_numbers_is_computed_for_the_shipped_file_and_never_for_a_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from modelgraft_timm import measure as module

    measured = module.measure("test_resnet.r160_in1k")
    computed: list[str] = []

    def unmeasured(name: str) -> Any:
        computed.append(name)
        raise NotImplementedError("no meta kernel")

    monkeypatch.setattr(module, "measure", unmeasured)
    assert module.compute("test_resnet.r160_in1k") == measured
    assert computed == ["test_resnet.r160_in1k"]
    monkeypatch.setattr("modelgraft_timm.describe.measure", unmeasured)
    monkeypatch.setattr("modelgraft_timm.describe.compute", pytest.fail)
    rest = [e for e in ENTRIES if not e.name.startswith("timm/test_resnet:")]
    [bare] = [e for e in describe(rest) if e.name == "timm/test_resnet:r160_in1k"]
    assert bare.params is None
