"""Sloppy command lines, streams, folders and environments: the right answer, or a line that says what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.terminals import Terminals

CLASSIFY = ("classify", "0.png", "--labels", "cat,cup")
MANY = ("classify", ".", "--labels", "cat,cup", "-f", "jsonl")
IN_A_GONE_FOLDER = "import os, tempfile; p = tempfile.mkdtemp(); os.chdir(p); os.rmdir(p)"
INTERRUPTED = """
import modelgraft_adapters.estimators.zero_shot_core as z
def stop(*a, **k): raise KeyboardInterrupt
old, seen = z.prediction, []
z.prediction = lambda *a, **k: stop() if len(seen) > 2 else (seen.append(1), old(*a, **k))[1]
"""
GONE_MEANWHILE = """
import os, shutil, modelgraft_adapters.estimators.zero_shot_core as z
os.mkdir("gone"); old = z.prediction
z.prediction = lambda *a, **k: (shutil.rmtree("gone"), old(*a, **k))[1]
"""

CASES: dict[str, tuple[tuple[str, ...], dict[str, Any], int, str]] = {
    # what: (words, how they are run, exit code, what standard error says - or, after "=", what is found in the result)
    "-o - is standard output": ((*CLASSIFY, "-f", "csv", "-o", "-"), {}, 0, "=0.png,cat,"),
    "-o /dev/stdout is standard output": ((*CLASSIFY, "-f", "csv", "-o", "/dev/stdout"), {}, 0, "=0.png,cat,"),
    "-o /dev/stdout of another verb": (("explore", ".", "-k", "2", "-f", "json", "-o", "/dev/stdout"), {}, 0, '="items": 6'),
    "-o without a name": ((*CLASSIFY, "-o", ""), {}, 2, "name a file"),
    "a name that says CSV": ((*CLASSIFY, "-o", "out.csv"), {}, 0, "out.csv=path,label,score"),
    "a NAME that says JSON lines": ((*CLASSIFY, "-o", "out.JSONL"), {}, 0, 'out.JSONL={"path": "0.png"'),
    "a name that says nothing": ((*CLASSIFY, "-o", "out.txt"), {}, 0, "out.txt=path   label  score"),
    "two outputs in one place": (("probe", ".", "-o", "x", "--report", "./x"), {}, 2, "two outputs"),
    "an empty --model, as of a variable that is not set": ((*CLASSIFY, "--model", ""), {}, 2, "not a model name"),
    "--target-score nan": (("compare", ".", "-m", "sprig", "--target-score", "nan"), {}, 2, "takes a score"),
    "a threshold that is no number": ((*CLASSIFY, "--threshold", "nan"), {}, 2, "--threshold"),
    "more threads than there are": ((*MANY, "--workers", "200000"), {}, 0, '="label": "cat"'),
    "a folder as standard input": (
        ("classify", "-", "--labels", "cat,cup"),
        {"setup": "import os; os.dup2(os.open('.', os.O_RDONLY), 0)"},
        2,
        "standard input is a folder",
    ),
    "a NUL on standard input": (
        ("classify", "-", "--labels", "cat,cup"), {"stdin": "text:0.png\r\nx\0y\r\n"}, 2, "it holds NUL bytes",
    ),
    "lines of Windows on standard input": (
        ("classify", "-", "--labels", "cat,cup", "-f", "jsonl"),
        {"stdin": "text:0.png\r\nx\r\n"},
        1,
        '="path": "0.png", "label": "cat"',
    ),
    "a folder that is gone": ((*CLASSIFY,), {"setup": IN_A_GONE_FOLDER}, 1, "folder that this command was started in is gone"),
    "a folder that is gone, to write to": (("list", "*sprig*"), {"setup": IN_A_GONE_FOLDER}, 0, "=embedded/sprig"),
    "the output's folder goes meanwhile": (
        (*CLASSIFY, "-o", "gone/out.csv"),
        {"setup": GONE_MEANWHILE},
        1,
        "gone/out.csv cannot be written: No such file",
    ),
    "interrupted in mid-list": (
        ("classify", ".", "--labels", "cat,cup", "-f", "json", "--batch-size", "1"), {"setup": INTERRUPTED}, 130, "=[3",
    ),
    "a cache that is a file": (
        ("embed", ".", "-o", "e.npy"),
        {"env": {"MODELGRAFT_CACHE": "0.png"}},
        0,
        "modelgraft: features are not kept for the next time: ",
    ),
    "no folder for temporary files": ((*CLASSIFY, "-o", "/dev/stdout"), {"env": {"TMPDIR": "/nonexistent"}}, 0, "=0.png"),
    "few files may be open": (
        (*MANY,),
        {"setup": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (14, 14))"},
        0,
        '="label": "cat"',
    ),
    "a label that is not UTF-8": (("classify", "0.png", "-l", "caf\udce9,cat", "-f", "json"), {}, 2, "not UTF-8: byte 0xE9"),
    "an output that is not UTF-8": ((*CLASSIFY, "-f", "csv", "-o", "caf\udce9.csv"), {}, 0, "caf\udce9.csv=0.png,cat"),
    "FORCE_COLOR into a file": (("list", "*sprig*"), {"env": {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1"}}, 0, "=embedded"),
    "warnings as errors": ((*MANY,), {"setup": "import warnings; warnings.simplefilter('error')"}, 0, '="label": "cat"'),
    "a proxy with a port that is none": (
        ("pull", "timm/resnet18.a1_in1k"), {"env": {"HTTPS_PROXY": "http://me:secret@host:abc"}}, 1, "check HTTPS_PROXY",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("sloppy")
    with Image.open(ROOT / "docs" / "photos" / "cat.jpg") as image:
        small = image.convert("RGB").resize((64, 64))
    for number in range(6):
        small.rotate(number).save(folder / f"{number}.png")
    return folder


@pytest.mark.full
@pytest.mark.parametrize("what", CASES)
def test_sloppy(what: str, terminals: Terminals, place: Path) -> None:
    words, how, code, wanted = CASES[what]
    if words[0] == "classify" and words[1].endswith(".png") and "setup" in how and how["setup"] == IN_A_GONE_FOLDER:
        words = (words[0], str(place / words[1]), *words[2:])
    done = terminals.run(*words, cwd=place, **how)
    assert done.code == code, done
    told = done.err.decode("utf-8", "replace")
    assert (
        "should not happen" not in told and "Traceback" not in told and "secret" not in told and b"\x1b" not in done.out
    )
    where, found, content = wanted.partition("=")
    if not found:
        assert wanted in told
        assert done.out == b"" or code == 0
    elif wanted == "=[3":
        assert len(json.loads(done.out)) == 3
    else:
        assert content in ((place / where).read_text() if where else done.out.decode("utf-8")), done
