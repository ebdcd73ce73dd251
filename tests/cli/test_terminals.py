"""Every verb on a real terminal: what is redirected gets the result and nothing else, whole, whatever else is shown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.terminals import Ended, Terminals, two_classes

PICTURES = 16
BARS = "from modelgraft_adapters.cli.progress import Bar; Bar.LEAST = 1"
"""Run in the child first: a bar is shown however little there is to wait for."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, terminals: Terminals) -> Path:
    """``images`` of two classes, a table of them, and an adapter that was trained on them."""
    folder = tmp_path_factory.mktemp("place")
    rows = two_classes(folder, "pictures", PICTURES // 2)
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    done = terminals.run("probe", "pictures", "--save", "adapter", "--no-check-duplicates", cwd=folder)
    assert done.code == 0, done.err
    return folder


CLASSIFY = ("classify", "pictures", "--labels", "cat,cup", "-f")
VERBS = {
    **{f"classify {format}": (*CLASSIFY, format) for format in ("table", "json", "jsonl", "csv", "parquet")},
    "predict": ("predict", "pictures", "--model", "./adapter", "-f", "jsonl"),
    "embed": ("embed", "pictures", "-o", "out.npy", "--no-keep"),
    "probe": ("probe", "pictures", "-f", "json", "--no-check-duplicates"),
    "finetune": ("finetune", "pictures", "--save", "tuned", "--strategy", "head-only", "--steps", "4", "-f", "json"),
    "multitask": ("multitask", "table.csv", "--tasks", "label,kind", "--save", "tasks", "--strategy", "head-only", "--steps", "4",
                  "-f", "json"),
    "compare": ("compare", "pictures", "-m", "sprig", "-s", "zero-shot", "--shots", "all", "--seeds", "1", "-f", "json",
                "--folder", "k"),
    "rank": ("rank", "pictures", "-m", "sprig", "-f", "json", "--no-control"),
    "explore": ("explore", "pictures", "-f", "json", "-k", "2"),
    "gap": ("gap", "pictures", "pictures", "-f", "json"),
    "export": ("export", "./adapter", "-o", "out.pt2", "-f", "json"),
    "push": ("push", "adapter", "me/mine", "--dry-run"),
    "list": ("list", "*sprig*", "-f", "json"),
    "info": ("info", "embedded/sprig"),
    "plugins": ("plugins",),
    "pull": ("pull", "embedded/sprig", "-f", "json"),
    "lock": ("lock", "-f", "json"),
    "register": ("register", "--list", "-f", "json"),
    "cache": ("cache", "-f", "json"),
}  # fmt: skip
SLOW = ("finetune", "multitask", "compare", "rank", "export", "explore", "gap", "embed", "pull", "push")
CHANGES: dict[str, str] = {
    "probe": r'"(embedding|learning|testing|zero-shot|peak_mib|encoded)": [0-9.]+',
    "finetune": r'"[^"]*": [0-9.e+-]+',
    "multitask": r'"[^"]*": [0-9.e+-]+',
    "compare": r'"(learning|testing|joules|peak_mib|gpu_peak_mib|ran|kept)": [0-9.a-z]+',
    "rank": r'"(seconds_per_item|seconds|peak_mib|encoded)": [0-9.e-]+',
}
"""What differs from run to run: times and memory."""


def _same(verb: str, out: bytes) -> bytes:
    pattern = CHANGES.get(verb)
    return re.sub(pattern.encode(), b"#", out) if pattern else out


@pytest.mark.full
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_redirected_is_the_result(verb: str, terminals: Terminals, place: Path) -> None:
    def run(stdout: str, stderr: str) -> Ended:
        for made in ("tuned", "tasks"):
            shutil.rmtree(place / made, ignore_errors=True)
        done = terminals.run(*VERBS[verb], stdout=stdout, stderr=stderr, cwd=place, setup=BARS)
        assert done.code == 0, (done.err, done.terminal[-500:])
        return done

    plain = run("pipe", "pipe")
    assert verb == "classify parquet" or b"\x1b" not in plain.out + plain.err
    watched = run("file", "tty")
    assert _same(verb, watched.out) == _same(verb, plain.out)
    assert (plain.out == b"") == (verb == "embed")
    if verb in ("classify parquet", *SLOW):
        return  # Parquet is not for a terminal
    both = run("tty", "tty")  # beside it there may be lines and a bar, which is gone when the result is shown
    assert _same(verb, plain.out) in _same(verb, _bare(both.terminal.replace(b"\r\n", b"\n")))


def _bare(text: bytes) -> bytes:
    """Without the bold of a table's head."""
    return text.replace(b"\x1b[1m", b"").replace(b"\x1b[0m", b"")


def test_a_bar_is_shown_where_only_the_result_is_redirected(terminals: Terminals, place: Path) -> None:
    done = terminals.run(*CLASSIFY, "jsonl", stdout="file", stderr="tty", cwd=place, setup=BARS)
    assert b"classifying" in done.terminal and len(done.out.splitlines()) == PICTURES
    both = terminals.run(*CLASSIFY, "jsonl", stdout="tty", stderr="tty", cwd=place, setup=BARS)
    assert b"classifying" not in both.terminal  # the rows themselves are the progress
    assert [json.loads(line) for line in both.terminal.splitlines()] == [json.loads(x) for x in done.out.splitlines()]


def test_with_richs_own_redirection_the_file_stays_empty(terminals: Terminals, place: Path) -> None:
    """The guard is known to matter: rich's default sends the result to the terminal."""
    setup = (
        "import rich.progress as p\n"
        "class Usual(p.Progress):\n"
        "    def __init__(self, *a, redirect_stdout, redirect_stderr, **k): super().__init__(*a, **k)\n"
        "p.Progress = Usual"
    )
    done = terminals.run(*CLASSIFY, "jsonl", stdout="file", stderr="tty", cwd=place, setup=setup)
    assert (done.code, done.out) == (0, b"")


def test_lines_go_above_a_bar_uncut(terminals: Terminals, place: Path) -> None:
    code = (
        "import sys\nfrom modelgraft_adapters.cli.progress import Bar, say\n"
        "with Bar() as bar:\n"
        "    bar.tell('doing', 1, 100); say('[bold]x[/] ' + 'long ' * 60); bar.tell('doing', 2, 100)\n"
        "raise SystemExit(0)"
    )
    done = terminals.run(setup=code, stdout="file", stderr="tty")
    assert done.out == b"" and b"modelgraft: [bold]x[/] " + b"long " * 59 in done.terminal


@pytest.mark.full
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_json_is_json_in_every_encoding(encoding: str, terminals: Terminals, place: Path) -> None:
    env = {"PYTHONIOENCODING": encoding}
    labels = ["café", "ł", "😀", "cat"]
    for format in ("json", "jsonl"):
        done = terminals.run(
            "classify", "pictures/cat/00.png", "--labels", ",".join(labels), "-f", format, env=env, cwd=place
        )
        found = json.loads(done.out.decode("utf-8"))
        row = found[0] if format == "json" else found
        assert set(row["scores"]) == set(labels) and done.out.isascii()
    done = terminals.run("classify", "pictures/cat/00.png", "-l", ",".join(labels), "-f", "csv", env=env, cwd=place)
    assert "score:ł,score:😀" in done.out.decode("utf-8")


@pytest.mark.full
def test_closed_streams_and_readers_that_have_gone(terminals: Terminals, place: Path) -> None:
    one = ("classify", "pictures/cat/00.png", "--labels", "cat,cup", "-f", "jsonl")
    listed = ("classify", "-", "--labels", "cat,cup", "-f", "jsonl")
    for arguments, code, streams in (
        (one, 0, {"stdin": "closed"}),
        (listed, 2, {"stdin": "closed"}),
        (one, 1, {"stdout": "closed"}),
        (one, 0, {"stderr": "closed"}),
        (one, 1, {"stdin": "closed", "stdout": "closed", "stderr": "closed"}),
        (one, 0, {"stdout": "gone"}),
        (one, 0, {"stderr": "gone"}),
        (listed, 2, {"stderr": "gone"}),
        (("lock", "embedded/sprig"), 0, {"stderr": "gone"}),
        (VERBS["classify json"], 0, {"stdout": "gone"}),
    ):
        done = terminals.run(*arguments, **streams, cwd=place)
        assert done.code == code, (arguments, streams, done)
        assert done.err.count(b"\n") <= 1 and b"should not happen" not in done.err
        if code == 0 and arguments is one and "stdout" not in streams:
            assert json.loads(done.out)["label"] == "cat"
    assert json.loads((place / "modelgraft.lock").read_text())  # a line that nobody reads ends no work
    (place / "modelgraft.lock").unlink()
