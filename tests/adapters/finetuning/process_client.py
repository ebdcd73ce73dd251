"""Fine-tunes on photographs in ``argv[1]`` and writes what was trained to ``argv[2]``: run alone, and in two processes."""

from __future__ import annotations

import os
import sys

import torch
from modelgraft_adapters import FineTuner

torch.set_num_threads(1)
settings = {"steps": 5, "batch_size": 8, "augment": "flip", "norms": "eval", "precision": "fp32"}
tuner = FineTuner("embedded/sprig", sys.argv[3], device="cpu", **settings)
tuner.fit(sys.argv[1])
if os.environ.get("RANK", "0") == "0":
    torch.save({"weights": tuner.end_, "losses": tuner.report_["losses"]}, sys.argv[2])
