"""Plugins whose models misbehave when they are used: one command each, with a good image and a bad model."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.harness import Place, Verdict, alike, judge

PLUGIN = """from modelgraft import Entry, hookimpl

NAME = __name__.removeprefix("modelgraft_")


@hookimpl
def modelgraft_entries():
    about = {"modality": "image-text", "tasks": ("zero-shot", "features"), "embed_dim": 4, "score": "softmax"}
    return [Entry(name=f"{NAME}/m", templates=("{}",), **about)]


@hookimpl
def modelgraft_load(entry, device, dtype):
    import importlib

    return importlib.import_module(f"{__name__}_model").load(entry, device)
"""
MODEL = """import sys

import torch
from modelgraft import ScoreRule


class Model:
    embed_dim = 4

    def __init__(self, entry, device):
        self.entry, self.device = entry, device
        self.module = torch.nn.Linear(4, 4, bias=False).eval()
        torch.nn.init.eye_(self.module.weight)

    def preprocess(self, image):
        import numpy
        return torch.tensor(numpy.asarray(image.resize((2, 2)))).float().permute(2, 0, 1) / 255

    def encode_image(self, pixels):
        return torch.cat([pixels.mean(dim=(2, 3)), torch.ones(len(pixels), 1)], 1)

    def encode_text(self, texts):
        colours = {"red": [1.0, 0, 0, 1], "green": [0, 1.0, 0, 1], "blue": [0, 0, 1.0, 1]}
        return torch.tensor([colours.get(text, [0, 0, 0, 1.0]) for text in texts])

    def text_notes(self, texts):
        return []

    def score_rule(self):
        return ScoreRule("softmax", 20.0)


kept = sys.stdout


class Bad(Model):
    BODY


def load(entry, device):
    return MADE(entry, device)
"""


def model(body: str, made: str = "Bad") -> str:
    """The module of a backbone that has these methods in the place of the good ones."""
    return MODEL.replace("BODY", body.replace("\n", "\n    ")).replace("MADE", made)


IMAGE, TEXT = "def encode_image(self, pixels):\n    ", "def encode_text(self, texts):\n    "
PREPARE = "def preprocess(self, image):\n    "
RULE = "def score_rule(self):\n    "

RIGHT: dict[str, str] = {
    # Sloppy, and still right: the answer must be that of the good model, and standard output nothing but JSON.
    "prints in encode_image": IMAGE + "print('progress: 10 %'); return super().encode_image(pixels)",
    "writes to descriptor 1": IMAGE + "import os; os.write(1, b'noise\\n'); return super().encode_image(pixels)",
    "prints in preprocess": PREPARE + "print('noise', flush=True); return super().preprocess(image)",
    "prints in encode_text": TEXT + "print('noise'); return super().encode_text(texts)",
    "a program of its own prints": IMAGE + "import os; os.system('echo noise'); return super().encode_image(pixels)",
    "prints from a thread of its own": IMAGE
    + "import threading; t = threading.Thread(target=print, args=('noise',)); t.start(); t.join()\n"
    + "    return super().encode_image(pixels)",
    "keeps the old standard output": IMAGE
    + "kept.write('noise\\n'); kept.flush(); return super().encode_image(pixels)",
    "puts another standard output": IMAGE
    + "import sys, io; sys.stdout = io.StringIO(); return super().encode_image(pixels)",
    "half precision": IMAGE + "return super().encode_image(pixels).half()",
    "double precision": IMAGE + "return super().encode_image(pixels).double()",
    "needs gradients": IMAGE + "return super().encode_image(pixels).clone().requires_grad_()",
    "one buffer for every batch": "buffer = None\n"
    + IMAGE
    + "found = super().encode_image(pixels)\n"
    + "    if self.buffer is None or self.buffer.shape != found.shape: self.buffer = found.clone()\n"
    + "    self.buffer.copy_(found); return self.buffer",
    "changes the texts it is given": TEXT
    + "found = super().encode_text(texts)\n    if isinstance(texts, list): texts.clear()\n    return found",
    "changes the image it is given": PREPARE
    + "found = super().preprocess(image); image.paste((0, 0, 0), (0, 0, *image.size)); return found",
    "warnings": IMAGE + "import warnings; warnings.warn('careful'); return super().encode_image(pixels)",
    "changes the folder": IMAGE + "import os; os.chdir('/'); return super().encode_image(pixels)",
}
REFUSED: dict[str, str] = {
    "sys.exit(0) in encode_image": IMAGE + "import sys; sys.exit(0)",
    "sys.exit(0) in preprocess": PREPARE + "import sys; sys.exit(0)",
    "sys.exit(0) in encode_text": TEXT + "raise SystemExit(0)",
    "exit with a word": IMAGE + "raise SystemExit('bye')",
    "StopIteration in preprocess": PREPARE + "raise StopIteration",
    "StopIteration in encode_image": IMAGE + "raise StopIteration",
    "GeneratorExit in encode_image": IMAGE + "raise GeneratorExit",
    "one row too many": IMAGE + "return torch.cat([torch.zeros(1, 4), super().encode_image(pixels)])",
    "one row too few": IMAGE + "return super().encode_image(pixels)[1:]",
    "no rows": IMAGE + "return torch.zeros(0, 4)",
    "one row for all": IMAGE + "return super().encode_image(pixels)[0]",
    "columns too many": IMAGE + "return torch.cat([super().encode_image(pixels)] * 2, 1)",
    "a row of text too many": TEXT + "return torch.cat([torch.zeros(1, 4), super().encode_text(texts)])",
    "texts of another width": TEXT + "return torch.ones(len(texts), 7)",
    "None": IMAGE + "return None",
    "a list": IMAGE + "return [[1, 2, 3, 4]] * len(pixels)",
    "an array": IMAGE + "return super().encode_image(pixels).numpy()",
    "whole numbers": IMAGE + "return super().encode_image(pixels).int()",
    "complex numbers": IMAGE + "return super().encode_image(pixels).to(torch.complex64)",
    "no numbers": IMAGE + "return super().encode_image(pixels) * float('nan')",
    "infinite numbers": IMAGE + "return super().encode_image(pixels) * float('inf')",
    "no numbers for texts": TEXT + "return super().encode_text(texts) * float('nan')",
    "numbers on no device": IMAGE + "return super().encode_image(pixels).to('meta')",
    "a sparse answer": IMAGE + "return super().encode_image(pixels).to_sparse()",
    "a scale of NaN": RULE + "return ScoreRule('softmax', float('nan'))",
    "a scale of 0": RULE + "return ScoreRule('softmax', 0.0)",
    "a rule of another name": RULE + "return ScoreRule('best', 1.0)",
    "a rule that is a text": RULE + "return 'softmax'",
    "no rule": RULE + "return None",
    "images of different shapes": "n = 0\n" + PREPARE + "Bad.n += 1; return torch.zeros(3, 2 + Bad.n, 2)",
    "preprocess gives None": PREPARE + "return None",
    "raises a kind of its own": IMAGE + "class Odd(BaseException): pass\n    raise Odd('odd')",
    "an error with an escape": IMAGE + "raise ValueError('\\x1b[2Jgotcha\\n\\u202e')",
    "no text_notes": "text_notes = None",
    "notes that are none": "def text_notes(self, texts):\n    return [5]",
    "notes that leave": "def text_notes(self, texts):\n    sys.exit(0)",
    "no module": "def __init__(self, entry, device):\n    super().__init__(entry, device); del self.module",
    "another width than it has": "embed_dim = 'four'",
    "loading gives None": "",
    "loading gives a text": "",
    "loading leaves": "",
}
MADE = {
    "loading gives None": "(lambda e, d: None)",
    "loading gives a text": "(lambda e, d: 'model')",
    "loading leaves": "(lambda e, d: exit(0))",
}
KIND = "plugins, when they are used"


def run(place: Place, photos: Path) -> list[Verdict]:
    """Classify three images with each of them."""
    cases = [*RIGHT, *REFUSED]
    for number, name in enumerate(cases):
        code = model({**RIGHT, **REFUSED}[name] or "pass", MADE.get(name, "Bad"))
        place.install(f"modelgraft-used{number:03d}", PLUGIN, modules={"model": code})
    place.install("modelgraft-well", PLUGIN, modules={"model": model("pass")})
    words = ["classify", photos, "--labels", "red,green,blue", "--format", "json", "--device", "cpu", "--model"]
    good = place.run(*words, "well/m", seconds=200)
    assert good.code == 0, good.err
    verdicts = []
    for number, name in enumerate(cases):
        done = place.run(*words, f"used{number:03d}/m")
        done.audit = [
            line for line in done.audit if not line.startswith("os.system")
        ]  # plugins are trusted to run programs
        same = alike(done.json(), good.json())
        verdict = judge(KIND, name, done, right=same, culprit=f"modelgraft-used{number:03d}")
        if name in RIGHT and done.code != 0:
            verdict.faults.append("others: a good answer is refused")
        verdicts.append(verdict)
    return verdicts
