"""The open_clip models that are compared with open_clip itself: one or more of every kind it has. Imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """A catalogued model, and what open_clip itself must be asked for to get the same."""

    name: str
    kind: str
    reference: str | None = None
    """``MODEL`` whose activation is the one the weights were trained with, if it is another."""
    pickled: bool = False
    """Its weights are served as the .bin file that the catalogue names."""
    half: bool = False
    """Compared in bfloat16 too."""
    slow: bool = False
    """Left to the full run."""


CASES = {
    case.name: case
    for case in (
        Case("ViT-B-32:laion2b_s34b_b79k", "vision transformer", half=True),
        Case("ViT-B-32:openai", "QuickGELU by tag", reference="ViT-B-32-quickgelu"),
        Case("RN50-quickgelu:openai", "modified ResNet", half=True),
        Case("convnext_base:laion400m_s13b_b51k", "ConvNeXt (timm)", slow=True),
        Case("coca_ViT-B-32:laion2b_s13b_b90k", "CoCa", half=True),
        Case("ViT-L-14-CLIPA:datacomp1b", "CLIPA, BERT tokenizer"),
        Case("EVA02-B-16:merged2b_s8b_b131k", "EVA (timm)"),
        Case("ViT-B-16-SigLIP:webli", "SigLIP"),
        Case("ViT-B-32-SigLIP2-256:webli", "SigLIP 2", slow=True),
        Case("roberta-ViT-B-32:laion2b_s12b_b32k", "RoBERTa text tower"),
        Case("xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k", "multilingual text tower"),
        Case("nllb-clip-base:v1", "NLLB text tower"),
        Case("nllb-clip-base-siglip:mrl", "NLLB text tower, sigmoid", slow=True),
        Case("MobileCLIP2-S0:dfndr2b", "MobileCLIP (FastViT)", slow=True),
        Case("ViTamin-S:datacomp1b", "ViTamin", pickled=True, half=True, slow=True),
        Case("PE-Core-T-16-384:meta", "Perception Encoder"),
        Case("ViT-H-14-worldwide:metaclip2_worldwide", "MetaCLIP 2", reference="ViT-H-14-worldwide-quickgelu"),
    )
}
