"""The first command of the README against importing what it cannot do without, whole processes, in turn.

python benchmarks/cold_start.py
"""

from __future__ import annotations

from pathlib import Path

from measure import PYTHON, compare, save

PHOTOS = str(Path(__file__).parent.parent / "docs" / "photos")
PEER = (
    "import open_clip, torch; from PIL import Image; open_clip.create_model_and_transforms('ViT-B-32', pretrained=None); "
    "open_clip.get_tokenizer('ViT-B-32')"
)
figures = compare(
    {
        "modelgraft classify": [
            PYTHON,
            "-m",
            "modelgraft",
            "classify",
            PHOTOS,
            "--labels",
            "cat,cup,orange flower,rocket",
        ],
        "import torch, PIL.Image": [PYTHON, "-c", "import torch, PIL.Image"],
        "open_clip: build ViT-B-32, untrained": [PYTHON, "-c", PEER],
    },
    runs=5,
    env={"HF_HUB_OFFLINE": "1"},
)
ours, floor, peer = figures.values()
save(
    "cold_start",
    {
        "figures": figures,
        "wall_over_imports": ours["wall"] / floor["wall"],
        "peer_wall_over_ours": peer["wall"] / ours["wall"],
    },
)
