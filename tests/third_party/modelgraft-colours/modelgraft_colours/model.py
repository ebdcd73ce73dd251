"""A dual encoder for colours: the mean colour of an image beside the colour a word names."""

import numpy
import torch
from modelgraft import ScoreRule
from PIL import Image, ImageColor


class Colours:
    """Has the members of `modelgraft.ImageBackbone` and `modelgraft.TextBackbone`; there is no class to inherit."""

    embed_dim = 3

    def __init__(self, entry, device):
        self.entry = entry
        self.device = device
        self.module = torch.nn.ParameterDict({"scale": torch.nn.Parameter(torch.tensor(10.0))}).to(device).eval()

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        small = image.resize((8, 8), Image.Resampling.BOX)
        return torch.tensor(numpy.asarray(small).reshape(-1, 3), dtype=torch.float32).T.reshape(3, 8, 8) / 255 - 0.5

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.to(self.device).mean(dim=(2, 3))

    def encode_text(self, texts) -> torch.Tensor:
        rows = [ImageColor.getrgb(t)[:3] if t in ImageColor.colormap else (128, 128, 127) for t in texts]
        return torch.tensor(rows, dtype=torch.float32, device=self.device) / 255 - 0.5

    def text_notes(self, texts) -> list[str]:
        unknown = sorted({t for t in texts if t not in ImageColor.colormap})
        return [f"not a colour this model knows: {', '.join(unknown)}"] if unknown else []

    def score_rule(self) -> ScoreRule:
        return ScoreRule("softmax", self.module["scale"].item())
