"""``python -m modelgraft_embedded.training prepare|train|evaluate --data DIR --work DIR --seed 0``."""

from __future__ import annotations

import argparse
from pathlib import Path


def main() -> None:
    """Parse and run one stage; each can be interrupted and called again."""
    parser = argparse.ArgumentParser(prog="python -m modelgraft_embedded.training", description=__doc__)
    parser.add_argument("stage", choices=["prepare", "train", "evaluate"])
    parser.add_argument("--data", type=Path, required=True, help="folder with the archives and weights/")
    parser.add_argument("--work", type=Path, required=True, help="folder for caches and checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="results repeat only for the same number")
    parser.add_argument("--steps", type=int, default=6400, help="train: steps of the picture stage")
    parser.add_argument("--text-steps", type=int, default=1600, help="train: steps of the text stage before it")
    parser.add_argument("--out", type=Path, help="the .safetensors to write and judge (default: in the package)")
    parser.add_argument("--docs", type=Path, help="evaluate: the card page to fill in")
    options = parser.parse_args()

    import torch

    torch.set_num_threads(options.threads)
    out = options.out or Path(__file__).parents[1] / "weights" / "sprig.safetensors"
    if options.stage == "prepare":
        from modelgraft_embedded.training.prepare import prepare

        prepare(options.data, options.work, options.seed)
    elif options.stage == "train":
        from modelgraft_embedded.training.train import Plan, train

        train(options.work, out, Plan(seed=options.seed, steps=options.steps, text_steps=options.text_steps))
    else:
        from modelgraft_embedded.training.evaluate import evaluate

        evaluate(options.data, options.work, out, options.docs)


if __name__ == "__main__":
    main()
