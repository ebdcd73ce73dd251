"""A plugin of the candidates that `ranking.py` ranks images with: real weights of a few architectures, at 96 pixels, and random
ones.

`MODELGRAFT_RANKING_WEIGHTS` names the folder of the weights; `ranking.py` announces the plugin by an entry point in a folder of
its own.
"""

from __future__ import annotations

import os
from typing import Any

from modelgraft import Entry, Weights, hookimpl
from modelgraft.errors import UsageError

MODELGRAFT_API = 1
SIDE = 96
HALF, IMAGENET = [0.5] * 3, [0.485, 0.456, 0.406]
SPREAD = [0.229, 0.224, 0.225]
NETS: dict[str, dict[str, Any]] = {
    "mobilenetv2": {
        "file": "mobilenetv2_100.coral_in1k_plain",
        "timm": "mobilenetv2_100",
        "dim": 1280,
        "params": 3504872,
    },
    "mobilenetv2-same": {
        "file": "mobilenetv2_100.coral_in1k",
        "timm": "mobilenetv2_100",
        "options": {"pad_type": "same"},
        "dim": 1280,
        "params": 3504872,
    },
    "lite0": {
        "file": "tf_efficientnet_lite0.in1k_mlillustrated",
        "timm": "tf_efficientnet_lite0",
        "dim": 1280,
        "params": 4652008,
    },
    "lite1": {
        "file": "tf_efficientnet_lite1.in1k_mlillustrated",
        "timm": "tf_efficientnet_lite1",
        "dim": 1280,
        "params": 5416680,
    },
    "lite2": {
        "file": "tf_efficientnet_lite2.in1k_mlillustrated",
        "timm": "tf_efficientnet_lite2",
        "dim": 1280,
        "params": 6092072,
    },
    "squeezenet": {"file": "squeezenet1_1.webnn_in1k", "dim": 512, "params": 1235496},
    "resnet20-cifar": {"file": "cifar_resnet20.akamaster_cifar10", "dim": 64, "params": 269722, "side": 32},
    "mobilenetv2-random": {"timm": "mobilenetv2_100", "dim": 1280, "params": 3504872},
    "lite0-random": {"timm": "tf_efficientnet_lite0", "dim": 1280, "params": 4652008},
}


@hookimpl
def modelgraft_entries() -> list[Entry]:
    """An entry for each of `NETS`."""
    folder = os.environ["MODELGRAFT_RANKING_WEIGHTS"]
    return [
        Entry(
            f"nets/{name}",
            "image",
            ("features", "classification"),
            params=net["params"],
            embed_dim=net["dim"],
            input_size=(3, net.get("side", SIDE), net.get("side", SIDE)),
            weights=Weights(location=f"file:{folder}", files=(f"{net['file']}.safetensors",))
            if "file" in net
            else None,
        )
        for name, net in NETS.items()
    ]


@hookimpl
def modelgraft_load(entry: Entry, device: Any, dtype: Any, weights: Any) -> Any:
    """Build the net; without a file with the weights that its library begins training with, by a fixed seed."""
    import torch
    from safetensors.torch import load_file

    net = NETS[entry.name.partition("/")[2]]
    torch.manual_seed(0)
    module = _built(net)
    if weights is not None:
        module.load_state_dict({key: value.float() for key, value in load_file(weights.file).items()})
    return Net(entry, module.float().eval().to(device), net)


def _built(net: dict[str, Any]) -> Any:
    if "timm" in net:
        import timm

        return timm.create_model(net["timm"], **net.get("options", {}))
    if net["dim"] == 512:
        from torchvision.models import squeezenet1_1

        return squeezenet1_1()
    return resnet20()


class Net:
    """An `ImageBackbone` with the layers ``pooled`` and ``logits``."""

    def __init__(self, entry: Entry, module: Any, net: dict[str, Any]) -> None:
        self.entry, self.module, self.net = entry, module, net
        self.device, self.embed_dim, self.side = next(module.parameters()).device, net["dim"], net.get("side", SIDE)
        plain = "timm" in net
        self.mean, self.std = (HALF, HALF) if plain and net.get("options") else (IMAGENET, SPREAD)
        if net["timm"].startswith("tf_") if plain else False:
            self.mean = self.std = HALF

    def preprocess(self, image: Any) -> Any:
        import numpy as np
        import torch

        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        small = image.crop((left, top, left + short, top + short)).resize((self.side, self.side), 2)
        pixels = torch.from_numpy(np.asarray(small, np.float32).copy()).permute(2, 0, 1) / 255
        return (pixels - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]

    def encode_image(self, pixels: Any) -> Any:
        return self.encode_layer(pixels, "pooled")

    def layers(self, modality: str | None = None) -> tuple[str, ...]:
        return "pooled", "logits"

    def encode_layer(self, batch: Any, layer: str) -> Any:
        import torch

        with torch.inference_mode():
            return self.module(batch.to(self.device)).float() if layer == "logits" else self.embed(batch)

    def blocks(self, modality: str | None = None) -> tuple[Any, ...]:
        """All but the classifier, as one: enough to train the whole net."""
        from modelgraft.training import Block

        names = [name for name, _ in self.module.named_parameters() if not name.startswith(("classifier", "linear"))]
        return (Block("body", tuple(names)),)

    def token_batch(self, texts: Any) -> Any:
        raise UsageError(f"{self.entry.name} reads images, not texts")

    def embed(self, batch: Any) -> Any:
        """As `encode_image`, with gradients."""
        x = batch.to(self.device)
        if "timm" in self.net:
            return self.module.forward_head(self.module.forward_features(x), pre_logits=True).float()
        return self.module.features(x).mean((2, 3)).float()


def resnet20() -> Any:
    """ResNet-20 for CIFAR with option A shortcuts (He et al. 2015, arXiv 1512.03385), in the names of the published weights."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(after)
            self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(after)
            self.more, self.stride = after - before, stride

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if self.more:
                half = self.more // 2
                x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, half))
            return F.relu(out + x)

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            for number, (before, after) in enumerate([(16, 16), (16, 32), (32, 64)], 1):
                stride = 1 if number == 1 else 2
                blocks = [Block(before, after, stride), Block(after, after, 1), Block(after, after, 1)]
                setattr(self, f"layer{number}", nn.Sequential(*blocks))
            self.linear = nn.Linear(64, 10)

        def features(self, x: torch.Tensor) -> torch.Tensor:
            x = F.relu(self.bn1(self.conv1(x)))
            return self.layer3(self.layer2(self.layer1(x)))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.features(x).mean((2, 3)))

    return Whole()
