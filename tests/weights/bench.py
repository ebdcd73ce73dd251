"""Where faults are tried: a hub stand-in that publishes a small timm model, a client's home, and what counts as survived.

A client is a whole process, as a user starts it. For every case the home (the hub client's cache, modelgraft's own) is new,
but always at the same path.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from tests.conftest import ROOT
from tests.hub_standin import HubStandIn

NAME = "timm/test_vit:r160_in1k"
REPO = "timm/test_vit.r160_in1k"
FILE = f"*{REPO}/resolve/*/model.safetensors"
ANYTHING = f"*{REPO}*"
BIG = "timm/lcnet_100:ra2_in1k"
"""Larger than the 10 MiB pieces in which the hub client writes to disk."""
BIG_REPO = "timm/lcnet_100.ra2_in1k"
TOKEN = "hf_thisIsASecretThatNobodyMaySee"


class NotHereError(Exception):
    """A case that this machine cannot show, with the reason."""


@dataclass(slots=True)
class Pulled:
    """A finished `modelgraft pull`."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def line(self) -> str:
        """What the user reads if it failed."""
        return self.err.strip().removeprefix("modelgraft: error: ")


@dataclass(slots=True)
class Tally:
    """What is counted over a case."""

    loads: int = 0
    """Times that the model was loaded by name and asked for an embedding."""
    wrong: int = 0
    """Of those, how often it gave another embedding than the published weights give, without an error."""


@dataclass(slots=True)
class Bench:
    """See the module. Make one with `Bench.open`."""

    root: Path
    hub: HubStandIn
    stack: ExitStack
    tally: Tally = field(default_factory=Tally)
    published: dict[str, str] = field(default_factory=dict)
    """Name -> sha256 of its published file."""
    embeddings: dict[str, list[float]] = field(default_factory=dict)
    """Name -> the right embedding."""
    mark: int = 0
    _cases: int = 0
    _loader: subprocess.Popen[str] | None = None

    @classmethod
    @contextmanager
    def open(cls, root: Path) -> Iterator[Self]:
        """A bench below ``root``, with `NAME` and `BIG` published."""
        with ExitStack() as stack:
            hub = stack.enter_context(HubStandIn(root / "hub"))
            bench = cls(root, hub, stack)
            # modelgraft tries its plugins once per installation and keeps what they bring: done here, once for all cases.
            (root / "warm").mkdir()
            warmed = bench._modelgraft("plugins", env={"MODELGRAFT_CACHE": str(root / "warm")})
            assert warmed.wait() == 0
            bench.begin()
            stack.callback(bench._stop_loader)
            for name, repo in ((NAME, REPO), (BIG, BIG_REPO)):
                bench.publish(name, repo)
            # Other weights of the same size: loads as well as the right ones.
            bench._ask({"publish": NAME, "folder": str(root / "other"), "seed": 1})
            yield bench

    @property
    def home(self) -> Path:
        """``HF_HOME`` of this case."""
        return self.root / "now" / "home"

    @property
    def cache(self) -> Path:
        """The hub client's cache of this case."""
        return self.home / "hub"

    @property
    def other(self) -> Path:
        """A file of other weights for the model `NAME`."""
        return self.root / "other" / "model.safetensors"

    @property
    def size(self) -> int:
        """Bytes of the published file of `NAME`."""
        return (self.hub.root / REPO / "model.safetensors").stat().st_size

    def begin(self) -> None:
        """A new case: nothing cached, nothing wrong with the hub, counts at zero."""
        now = self.root / "now"
        if now.exists():
            now.rename(self.root / f"done-{self._cases}")
        self._cases += 1
        self.cache.mkdir(parents=True)
        shutil.copytree(self.root / "warm", now / "modelgraft")
        self.hub.mend()
        self.mark = len(self.hub.requests)
        self.tally = Tally()

    def publish(self, name: str, repo: str, seed: int = 0) -> None:
        """Random weights under a real name."""
        folder = self.hub.root / repo
        self.embeddings[name] = self._ask({"publish": name, "folder": str(folder), "seed": seed})["embedding"]
        self.published[name] = sha256(folder / "model.safetensors")

    def environment(self) -> dict[str, str]:
        """The whole environment of a client of this case."""
        kept = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("HF_", "MODELGRAFT_")) and key.lower() not in ("http_proxy", "https_proxy")
        }
        return {
            **kept,
            **self.hub.environment(self.home),
            "MODELGRAFT_CACHE": str(self.root / "now" / "modelgraft"),
            "TORCH_HOME": str(self.home / "torch"),
            "HF_HUB_DOWNLOAD_TIMEOUT": "2",
            "HF_HUB_ETAG_TIMEOUT": "2",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }

    def start(self, name: str = NAME, **env: str) -> subprocess.Popen[str]:
        """`modelgraft pull NAME` under way."""
        return self._modelgraft("pull", name, env=env)

    def pull(self, name: str = NAME, *, within: float = 90, **env: str) -> Pulled:
        """`modelgraft pull NAME`; AssertionError if it takes longer than ``within`` seconds."""
        begun = time.monotonic()
        process = self.start(name, **env)
        try:
            out, err = process.communicate(timeout=within)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"still pulling after {within} s; it has said: {err!r}") from None
        return Pulled(process.returncode, out, err, time.monotonic() - begun)

    def load(self, name: str = NAME, *, verified: bool = True) -> dict[str, Any]:
        """Load by name, offline, and embed; counts, and compares with what the published weights give.

        Args:
            verified: False leaves out the look at digests and sizes, to see what would happen without it.
        """
        answer = self._ask({"load": name, "verified": verified})
        right = self.embeddings[name.partition("@")[0]]
        self.tally.loads += 1
        if "error" not in answer and not same(answer["embedding"], right):
            self.tally.wrong += 1
        return answer

    def files(self, repo: str = REPO) -> list[Path]:
        """The weight files that a reader of the hub client's cache would find."""
        folder = self.cache / f"models--{repo.replace('/', '--')}" / "snapshots"
        return sorted(folder.glob("*/model.safetensors"))

    def partial(self, repo: str = REPO) -> int:
        """Bytes of the longest unfinished download in the home."""
        found = [path.stat().st_size for path in self.home.rglob("*.incomplete")]
        return max(found, default=0)

    def blob(self, repo: str = REPO) -> Path:
        """The one cached file of weights, links followed."""
        (found,) = self.files(repo)
        return found.resolve()

    def sent(self, pattern: str = FILE) -> int:
        """Bytes of bodies sent in this case."""
        return sum(r.sent for r in self.hub.requests[self.mark :] if fnmatchcase(r.path, pattern))

    def plain(self, text: str) -> str:
        """A message without what differs from run to run."""
        text = text.replace(self.hub.endpoint, "https://huggingface.co")
        text = text.replace(str(self.home), "~/.cache/huggingface")
        text = text.replace(str(self.root / "now" / "modelgraft"), "~/.cache/modelgraft")
        text = re.sub(r"\b\d{8}-\d{6}-\d+-", "", text)  # a time and a process id
        return re.sub(r"\b[0-9a-f]{8,64}\b(\.\.\.)?", "…", text)

    def _modelgraft(self, *arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "modelgraft", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if arguments[0] == "pull" else subprocess.DEVNULL,
            stderr=subprocess.PIPE if arguments[0] == "pull" else None,
            text=True,
            env={**self.environment(), **env},
            cwd=self.root,
        )

    def _ask(self, job: dict[str, Any]) -> dict[str, Any]:
        if self._loader is None:
            self._loader = subprocess.Popen(
                [sys.executable, "-m", "tests.weights.loader"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**self.environment(), "HF_HUB_OFFLINE": "1"},
                cwd=self.root,
            )
        assert self._loader.stdin and self._loader.stdout
        print(json.dumps(job), file=self._loader.stdin, flush=True)
        return json.loads(self._loader.stdout.readline() or '{"error": "crash", "text": "the loader died"}')

    def _stop_loader(self) -> None:
        if self._loader is not None:
            self._loader.communicate()


def same(found: list[float], right: list[float]) -> bool:
    """Equal embeddings, rounding aside."""
    return len(found) == len(right) and all(
        math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) for a, b in zip(found, right, strict=True)
    )


def sha256(file: Path) -> str:
    """Hexadecimal digest of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextmanager
def disk(at: Path, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of its own at a folder, of ``size`` (``1m``); gives a function that remounts it with other options.

    Raises:
        NotHereError: mounting is not permitted.
    """
    if not shutil.which("mount") or os.geteuid() != 0:
        raise NotHereError("mounting a tmpfs needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(at)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        raise NotHereError(f"mounting a tmpfs is not permitted ({mounted.stderr.strip()})")

    def remount(options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(at)], check=True)

    try:
        yield remount
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)
