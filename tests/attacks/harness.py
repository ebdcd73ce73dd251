"""What a case is, how it is run, and how what came of it is judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.conftest import ROOT

LONGEST_LINE = 1500
"""Characters of a message that a person still reads."""


@dataclass(slots=True)
class Done:
    """A command that has run."""

    code: int | None
    """None if it hung."""
    out: str
    err: str
    audit: list[str]
    """What it did that no case may do."""

    @property
    def errors(self) -> list[str]:
        """The lines on standard error that say what went wrong."""
        return [line for line in self.err.splitlines() if line.startswith("modelgraft: error:")]

    def json(self) -> Any:
        """Standard output as JSON; None where it is none."""
        try:
            return json.loads(self.out)
        except ValueError:
            return None


@dataclass(slots=True)
class Verdict:
    """What came of one case."""

    kind: str
    name: str
    outcome: str
    """``right`` (the answer is that of the good one), ``refused`` (an error that names it), ``contained`` (it is reported)."""
    said: str
    faults: list[str] = field(default_factory=list)
    """Empty if the promises held: ``code ran``, ``silent``, ``others``, ``unnamed``, ``traceback``, ``hangs``, ``garbled``."""


def judge(kind: str, name: str, done: Done, *, right: bool, culprit: str, trap: Path | None = None) -> Verdict:
    """Judge one command that met one case.

    Args:
        right: whether its answer is the right one.
        culprit: what an error must hold: the distribution, the file or the folder that is to blame.
        trap: what exists if the case's code ran.
    """
    faults = []
    if (trap is not None and trap.exists()) or done.audit:
        faults.append(f"code ran: {done.audit[:1] or trap}")
    if done.code is None:
        faults.append("hangs")
    if "Traceback (most recent call last)" in done.err:
        faults.append("traceback")
    if any(not c.isprintable() and c not in "\n\t" for c in done.err):
        faults.append("garbled: a control character on standard error")
    if done.code == 1 and not done.errors and (reasons := _reasons(done)):
        outcome, said = "refused", reasons[0]
        if not all(culprit in reason for reason in reasons) and culprit not in done.err:
            faults.append(f"unnamed: {culprit}")
    elif done.code == 0:
        outcome, said = "right", next(iter(done.err.splitlines()), "")
        if not right:
            faults.append("silent")
    else:
        outcome, said = "refused", done.errors[-1] if done.errors else done.err[-300:]
        if done.code is not None and not (done.code in (1, 2) and len(done.errors) == 1):
            faults.append(f"exit code {done.code} with {len(done.errors)} lines of error")
        if "should not happen" in said:
            faults.append("unexpected")
        if culprit and culprit not in done.err:
            faults.append(f"unnamed: {culprit}")
        if len(said) > LONGEST_LINE:
            faults.append(f"a message of {len(said):,} characters")
    return Verdict(kind, name, outcome, said.removeprefix("modelgraft: error: ")[:200], faults)


def _reasons(done: Done) -> list[str]:
    """Why no item has an answer, of a command that gave a row for each."""
    rows = done.json()
    found = [str(row.get("error") or "") for row in rows] if isinstance(rows, list) else []
    told = [line for line in done.err.splitlines() if "could not be read; the first: " in line]  # of verbs without rows
    return found if found and all(found) else told


def alike(found: Any, good: Any) -> bool:
    """Whether two answers are the same up to the rounding of half precision."""
    if isinstance(good, dict):
        return isinstance(found, dict) and found.keys() == good.keys() and all(alike(found[k], good[k]) for k in good)
    if isinstance(good, list):
        return isinstance(found, list) and len(found) == len(good) and all(map(alike, found, good))
    if isinstance(good, float):
        return isinstance(found, float) and abs(found - good) < 5e-3
    return bool(found == good)


class Place:
    """A virtual environment with a cache of its own, beside a secret and a trap, and a process that runs commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        venv.create(folder / "venv", with_pip=False, symlinks=True)
        self.python = folder / "venv" / "bin" / "python"
        asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.site = Path(
            subprocess.run([self.python, "-c", asked], check=True, capture_output=True, text=True).stdout.strip()
        )
        outer = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site / "outer.pth").write_text(
            "".join(f"import site; site.addsitedir({path!r})\n" for path in sorted(outer))
        )
        self.trap = folder / "trap"
        self.secret = folder / "secret.txt"
        self.secret.write_text("TOP SECRET\n")
        self._process: subprocess.Popen[str] | None = None

    def install(
        self,
        distribution: str,
        code: str,
        *,
        modules: dict[str, str] | None = None,
        files: dict[str, str | bytes] | None = None,
        **about: Any,
    ) -> None:
        """Put a plugin of one module where an installer would.

        Args:
            modules: more modules, by what is put behind the name of the first.
            files: of the metadata folder, over those that an installer writes.
            about: ``name`` and ``value`` of its entry point, and ``version``.
        """
        module = distribution.replace("-", "_")
        for more, text in {"": code, **{f"_{name}": text for name, text in (modules or {}).items()}}.items():
            (self.site / f"{module}{more}.py").write_text(text, encoding="utf-8", errors="surrogatepass")
        version = about.get("version", "1.0")
        metadata = self.site / f"{module}-{version}.dist-info"
        metadata.mkdir()
        name, value = about.get("name", distribution.removeprefix("modelgraft-")), about.get("value", module)
        written: dict[str, str | bytes] = {
            "METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n",
            "entry_points.txt": f"[modelgraft]\n{name} = {value}\n",
            "RECORD": "".join(f"{module}{more}.py,,\n" for more in ("", *(f"_{name}" for name in modules or {}))),
            "INSTALLER": "pip\n",
            **(files or {}),
        }
        for file, content in written.items():
            (metadata / file).write_bytes(content if isinstance(content, bytes) else content.encode())

    def environment(self) -> dict[str, str]:
        """Variables of every command here."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "MODELGRAFT_", "PYTHON"))}
        own = {
            "MODELGRAFT_CACHE": str(self.folder / "cache"),
            "HF_HOME": str(self.folder / "hf"),
            "HF_HUB_OFFLINE": "1",
        }
        return {**kept, **own, "OMP_NUM_THREADS": "1", "TMPDIR": str(self.tmp), "ATTACK": str(self.trap)}

    @property
    def tmp(self) -> Path:
        """Where temporary files of the commands go."""
        folder = self.folder / "tmp"
        folder.mkdir(exist_ok=True)
        return folder

    def run(self, *arguments: str | Path, seconds: float = 60, **more: Any) -> Done:
        """Run one command line in a fork of a warm process. ``env`` adds to the environment, ``stdin`` is a file."""
        if self._process is None:
            self._process = subprocess.Popen(
                [self.python, "-m", "tests.attacks.zygote"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=self.environment(),
            )
            assert self._process.stdout and self._process.stdout.readline() == "ready\n"
        assert self._process.stdin and self._process.stdout
        with tempfile.TemporaryDirectory(dir=self.folder) as out:
            job = {
                "arguments": list(map(str, arguments)),
                "cwd": str(more.pop("cwd", self.folder)),
                "out": out,
                "secret": str(self.secret),
                "seconds": seconds,
                **more,
            }
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            answer = json.loads(self._process.stdout.readline())
            texts = [Path(out, name).read_bytes().decode("utf-8", "replace") for name in ("stdout", "stderr")]
        return Done(answer["code"], *texts, answer["audit"])

    def cold(self, *arguments: str | Path, seconds: float = 120, **env: str) -> Done:
        """Run one command line in a process of its own."""
        command = [str(self.python), "-m", "modelgraft", *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=seconds,
                cwd=self.folder,
                env={**self.environment(), **env},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return Done(None, "", (error.stderr or b"").decode("utf-8", "replace"), [])
        return Done(done.returncode, *(text.decode("utf-8", "replace") for text in (done.stdout, done.stderr)), [])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.stdin:
            self._process.stdin.close()
            self._process.wait(30)


@contextmanager
def place() -> Iterator[Place]:
    """A `Place` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder, Place(Path(folder) / "place") as made:
        yield made


def report(verdicts: list[Verdict]) -> str:
    """The counts by kind, then every case that broke a promise."""
    kinds = dict.fromkeys(verdict.kind for verdict in verdicts)
    lines = [
        "| kind | cases | right answer | refused by name | contained | promises broken |",
        "|---|---|---|---|---|---|",
    ]
    for kind in [*kinds, "all"]:
        of = [verdict for verdict in verdicts if kind in (verdict.kind, "all")]
        counts = [sum(v.outcome == outcome for v in of) for outcome in ("right", "refused", "contained")]
        lines.append(f"| {kind} | {len(of)} | {' | '.join(map(str, counts))} | {sum(bool(v.faults) for v in of)} |")
    lines += [f"BROKEN {v.kind}: {v.name}: {'; '.join(v.faults)} [{v.outcome}: {v.said}]" for v in verdicts if v.faults]
    return "\n".join(lines)


if sys.platform == "win32":
    raise ImportError("the attacks fork processes")
