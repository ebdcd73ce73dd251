"""Names that a library has retired, and names that a user has half right."""

from __future__ import annotations

import warnings

import modelgraft as mg
import pytest
from modelgraft.entry import Entry
from modelgraft.errors import AmbiguousNameError, RetiredNameWarning, UnknownModelError
from modelgraft.listing.catalogue import Catalogue
from modelgraft.listing.installed import catalogue


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("timm/convnext_tiny_in22ft1k", "timm/convnext_tiny:fb_in22k_ft_in1k"),
        ("convnext_tiny_in22ft1k", "timm/convnext_tiny:fb_in22k_ft_in1k"),
        ("efficientnet_b2a", "timm/efficientnet_b2:ra_in1k"),
        ("open_clip/mobileclip_s1:datacompdr", "open_clip/MobileCLIP-S1:datacompdr"),
        ("ViT-H-14:metaclip_alltogether", "open_clip/ViT-H-14:metaclip_altogether"),
        ("PE-Core-G-14-448:meta", "open_clip/PE-Core-bigG-14-448:meta"),
    ],
)
def test_a_retired_name_resolves_with_one_warning(old: str, new: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        entry = mg.resolve(f"{old}@v1")
    assert (entry.name, entry.revision) == (new, "v1")
    [warning] = caught
    assert issubclass(warning.category, UserWarning) and warning.category is RetiredNameWarning
    assert new in str(warning.message) and old in str(warning.message) and "\n" not in str(warning.message)
    assert warning.filename == __file__  # where the user has to change it


def test_live_names_and_hub_ids_warn_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("timm/resnet50", "resnet50.a1_in1k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "ViT-B/32:openai"):
            mg.resolve(name)


def test_a_name_that_somebody_has_taken_since_is_theirs() -> None:
    origin = {"distribution": "d", "name": "p"}
    one = Entry(name="x/new", modality="image", tasks=("features",), retired=("x/old", "x/gone"))
    two = Entry(name="y/old", modality="image", tasks=("features",))
    table = Catalogue([(entry.to_dict(), origin) for entry in (one, two)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert table.find("old").name == "y/old"
    with pytest.warns(RetiredNameWarning):
        assert table.find("x/old").name == "x/new"
    assert Entry.from_dict(one.to_dict()) == one and one.record()["retired"] == ["x/old", "x/gone"]


MISSPELT = [
    ("openai-clip-vit-b32", "open_clip/ViT-B-32:openai"),
    ("clip-vit-base-patch32", "open_clip/ViT-B-32:openai"),
    ("openai/clip-vit-large-patch14", "open_clip/ViT-L-14:openai"),
    ("ViT-B32:openai", "open_clip/ViT-B-32:openai"),
    ("open_clip/ViT-B-32:laion2b_s34b_b97k", "open_clip/ViT-B-32:laion2b_s34b_b79k"),
    ("vitb32", "open_clip/ViT-B-32:"),
    ("clip-vit-l-14", "open_clip/ViT-L-14:"),
    ("coca-vit-l-14", "open_clip/coca_ViT-L-14:"),
    ("siglip-so400m", "open_clip/ViT-SO400M-14-SigLIP:webli"),
    ("google/siglip-so400m-patch14-384", "timm/vit_so400m_patch14_siglip_384:webli"),
    ("siglip2-base", "open_clip/ViT-B-16-SigLIP2:webli"),
    ("eva02-clip", "open_clip/EVA02-"),
    ("resnet-50", "timm/resnet50:"),
    ("resnet5O", "timm/resnet50:"),
    ("resent50", "timm/resnet50:"),
    ("dinov2-base", "timm/vit_base_patch14_dinov2:"),
    ("dinov2_vitb14", "timm/vit_base_patch14_dinov2:"),
    ("facebook/dinov2-base", "timm/vit_base_patch14_dinov2:"),
    ("dinov3-small", "timm/vit_small_patch16_dinov3:"),
    ("facebook/dinov3-vits16-pretrain-lvd1689m", "timm/vit_small_patch16_dinov3:"),
    ("convnext-tiny", "timm/convnext_tiny:"),
    ("convnextv2-base", "timm/convnextv2_base:"),
    ("eficientnet_b0", "timm/efficientnet_b0:"),
    ("swin-tiny", "timm/swin_tiny_patch4_window7_224:"),
    ("microsoft/swin-tiny-patch4-window7-224", "timm/swin_tiny_patch4_window7_224:"),
    ("google/vit-base-patch16-224", "timm/vit_base_patch16_224:"),
    ("mobilenet-v3-large", "timm/mobilenetv3_large_100:"),
    ("all-MiniLM-L6v2", "sentence-transformers/all-MiniLM-L6-v2"),
    ("mpnet-base-v2", "sentence-transformers/all-mpnet-base-v2"),
    ("sprigg", "embedded/sprig"),
]


@pytest.mark.full
@pytest.mark.parametrize(("written", "meant"), MISSPELT)
def test_did_you_mean_across_providers(written: str, meant: str) -> None:
    with pytest.raises((UnknownModelError, AmbiguousNameError)) as caught:
        mg.resolve(written)
    error = caught.value
    offered = error.suggestions if isinstance(error, UnknownModelError) else error.candidates
    assert any(name.startswith(meant) for name in offered[:3]), offered
    assert all(name in str(error) for name in offered[:3])


def test_nothing_near_is_nothing_offered() -> None:
    assert catalogue().suggest("qqqqwwwwzzzz") == []
    assert catalogue().suggest("/") == []
    with pytest.raises(UnknownModelError, match="'modelgraft list' shows every name"):
        mg.resolve("zzzzqqqq")
