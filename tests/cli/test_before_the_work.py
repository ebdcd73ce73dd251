"""What cannot work is one line, said before anything is fetched, read or trained; what the system refuses ends, and never hangs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.terminals import Ended, Terminals, two_classes

NO_WORK = """
import modelgraft.host.host as host, modelgraft_adapters.data.reading as reading, socket
class Worked(BaseException): pass
def worked(*a, **k): raise Worked("the work was begun")
from modelgraft_adapters.cli import inputs as items, embed as embed_verb, predict as predict_verb, classify as classify_verb
import modelgraft.weights, modelgraft.registry as registry
modelgraft.weights.local_weights = registry.local_weights = worked
reading.read_data = items.expand_paths = embed_verb.expand_paths = predict_verb.expand_paths = worked
classify_verb.expand_paths = worked
socket.socket.connect = worked
"""
"""Run in the child first: reading data, fetching weights and the network are traps."""
NO_THREADS = """
import threading
def none(*a, **k): raise RuntimeError("can't start new thread")
threading._start_new_thread = none
"""
NO_PROCESSES = """
import os, subprocess
def none(*a, **k): raise BlockingIOError(11, "Resource temporarily unavailable")
os.fork = none
subprocess._fork_exec = none
"""
OLD_POOL = """
import modelgraft_adapters.calls.stream as s, threading
from concurrent.futures import ThreadPoolExecutor
def old(workers):
    started = threading.Barrier(workers + 1)
    pool = ThreadPoolExecutor(workers)
    for _ in range(workers): pool.submit(started.wait)
    started.wait()
    return pool
s._decoding_pool = old
left = [1]
real = threading._start_new_thread
def one(*a, **k):
    if not left[0]: raise RuntimeError("can't start new thread")
    left[0] -= 1
    return real(*a, **k)
threading._start_new_thread = one
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, terminals: Terminals) -> Path:
    """``few`` images of two classes, a table of them, and an adapter that was trained on them."""
    folder = tmp_path_factory.mktemp("place")
    rows = two_classes(folder, "few", 8)
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    done = terminals.run("probe", "few", "--save", "adapter", "--no-check-duplicates", cwd=folder)
    assert done.code == 0, done.err
    return folder


def _one_line(done: Ended, *, code: int | tuple[int, ...] = (1, 2)) -> str:
    told = done.err.decode()
    codes = code if isinstance(code, tuple) else (code,)
    assert done.code in codes and done.out == b"", done
    assert told.count("\n") == 1 and told.startswith("modelgraft: error: "), told
    assert "should not happen" not in told and "begun" not in told and "plugin" not in told, told
    return told


VERBS = {
    "classify": ("classify", "few", "--labels", "cat,cup"),
    "predict": ("predict", "few", "--model", "./adapter"),
    "embed": ("embed", "few", "-o", "out.npy"),
    "probe": ("probe", "few"),
    "adapt": ("adapt", "few", "few"),
    "finetune": ("finetune", "few", "--save", "new"),
    "multitask": ("multitask", "table.csv", "--tasks", "label,kind", "--save", "new"),
    "compare": ("compare", "few", "-m", "sprig"),
    "rank": ("rank", "few", "-m", "sprig"),
    "explore": ("explore", "few"),
    "gap": ("gap", "few", "few"),
}


@pytest.mark.full
@pytest.mark.parametrize("verb", VERBS)
def test_devices_and_precisions_in_every_verb(verb: str, terminals: Terminals, place: Path) -> None:
    done = terminals.run(*VERBS[verb], "--device", "mps" if verb != "probe" else "meta", setup=NO_WORK, cwd=place)
    assert "no device 'm" in _one_line(done, code=2)
    if verb in ("classify", "compare", "finetune"):
        assert "cuda:7" in _one_line(terminals.run(*VERBS[verb], "--device", "cuda:7", cwd=place), code=2)
    if verb not in ("finetune", "multitask", "compare", "rank"):
        done = terminals.run(*VERBS[verb], "--dtype", "float8_e5m2", setup=NO_WORK, cwd=place)
        assert "no dtype 'float8_e5m2'" in _one_line(done, code=2)


OUTPUTS = {
    **{f"{verb} -o": (*VERBS[verb], "-o", "{}") for verb in ("classify", "predict", "probe", "rank", "adapt")},
    **{f"{verb} -o": (*VERBS[verb], "-o", "{}") for verb in ("explore", "gap")},
    "embed -o": ("embed", "few", "-o", "{}.parquet"),
    "export -o": ("export", "./adapter", "-o", "{}.pt2"),
    "probe --report": (*VERBS["probe"], "--report", "{}"),
    "explore --report": (*VERBS["explore"], "--report", "{}"),
    "gap --report": (*VERBS["gap"], "--report", "{}"),
    "compare --report": (*VERBS["compare"], "--report", "{}"),
    "rank --report": (*VERBS["rank"], "--report", "{}"),
    "probe --save": (*VERBS["probe"], "--save", "{}"),
    "adapt --save": (*VERBS["adapt"], "--save", "{}"),
    "finetune --save": ("finetune", "few", "--save", "{}"),
    "multitask --save": ("multitask", "table.csv", "--tasks", "label,kind", "--save", "{}"),
    "compare --folder": (*VERBS["compare"], "--folder", "{}"),
}
FULL = (
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\n"
)


@pytest.mark.full
@pytest.mark.parametrize("output", OUTPUTS)
def test_the_place_is_tried_before_the_work(output: str, terminals: Terminals, place: Path, tmp_path: Path) -> None:
    def run(target: str, setup: str = "") -> Ended:
        words = [word.format(target) for word in OUTPUTS[output]]
        return terminals.run(*words, setup=NO_WORK + setup, stderr="pipe", cwd=place)  # no limit of files holds there

    told = _one_line(run(str(tmp_path / "full"), FULL))
    assert "cannot be written: File too large" in told
    assert not list(tmp_path.iterdir())


def _trained_without_help(terminals: Terminals, place: Path, setup: str) -> None:
    shutil.rmtree(place / "new", ignore_errors=True)
    done = terminals.run(
        "finetune", "few", "--save", "new", "--strategy", "head-only", "--steps", "3", "--workers", "2",
        setup=setup, cwd=place, seconds=60,
    )  # fmt: skip
    assert done.code == 0 and b"items are read without processes of their own" in done.err, done


@pytest.mark.full
def test_without_threads_everything_ends(terminals: Terminals, place: Path) -> None:
    for verb in ("classify", "probe"):
        done = terminals.run(*VERBS[verb], setup=NO_THREADS, stderr="tty", cwd=place, seconds=60)
        assert done.code == 0, (verb, done)
    _trained_without_help(terminals, place, NO_THREADS)


@pytest.mark.full
def test_with_the_barrier_it_hung(terminals: Terminals, place: Path) -> None:
    """The guard is known to matter: one thread of several is started, and all wait for the others for ever."""
    done = terminals.run(*VERBS["classify"], "--workers", "2", setup=OLD_POOL, cwd=place, seconds=5)
    assert done.code is None
    new = OLD_POOL.replace("s._decoding_pool = old", "")
    assert terminals.run(*VERBS["classify"], "--workers", "2", setup=new, cwd=place, seconds=60).code == 0


@pytest.mark.full
def test_without_processes_everything_ends(terminals: Terminals, place: Path) -> None:
    _trained_without_help(terminals, place, NO_PROCESSES)
    done = terminals.run(*VERBS["compare"], "-s", "zero-shot", setup=NO_PROCESSES, cwd=place, seconds=60)
    assert done.code == 1 and b"no process could be started for it (Resource temporarily unavailable)" in done.err
    done = terminals.run("doctor", setup=NO_PROCESSES, cwd=place, seconds=120)
    assert done.code == 1 and b"no process could be started" in done.out and b"should not happen" not in done.err
    done = terminals.run(
        "list", setup=NO_PROCESSES, env={"MODELGRAFT_CACHE": str(place / "empty")}, cwd=place, seconds=60
    )
    assert "no more processes or threads" in _one_line(done, code=1)


NETWORK = (
    ("pull", "timm/resnet18.a1_in1k"),
    ("info", "hub:someone/something"),
    ("lock", "timm/resnet18.a1_in1k"),
    ("embed", "few", "-o", "out.npy", "--model", "timm/resnet18.a1_in1k"),
    ("push", "adapter", "me/mine"),
)


TRAP = (
    "import os, socket\n"
    "def worked(*a, **k): raise SystemExit('the network was asked')\n"
    "socket.getaddrinfo = worked\n"
    "for name in [n for n in os.environ if n.lower().endswith('_proxy') and 'secret' not in os.environ[n]]:\n"
    "    del os.environ[name]\n"
)
SOCKS = {"ALL_PROXY": "socks5://user:secret@127.0.0.1:1"}
TOKEN = {"HF_TOKEN": "hf_sécret"}


@pytest.mark.full
@pytest.mark.parametrize("words", NETWORK, ids=lambda words: words[0])
def test_proxies_and_tokens_that_cannot_be_used(words: tuple[str, ...], terminals: Terminals, place: Path) -> None:
    for env, said in ((SOCKS, "pip install socksio"), (TOKEN, "characters that no token has")):
        told = _one_line(terminals.run(*words, env=env, setup=TRAP, cwd=place), code=1)
        assert said in told and "cret" not in told, told


def test_a_label_and_a_text_that_look_like_options(terminals: Terminals, place: Path) -> None:
    done = terminals.run("classify", "few/cat/00.png", "--labels", "--5,cat", "-f", "csv", cwd=place)
    assert done.code == 0 and b"score:--5" in done.out
    done = terminals.run("classify", "few/cat/00.png", "-l", "--5", "-l", "cat", "-f", "jsonl", cwd=place)
    assert done.code == 0 and b'"--5"' in done.out
    done = terminals.run("embed", "--text", "--5", "-o", "x.npy", cwd=place)
    assert done.code == 2 and b"goes after --" in done.err
    done = terminals.run("embed", "--text", "--model", "sprig", "-o", "x.npy", "--", "--5", cwd=place)
    assert done.code == 0, done.err


def test_timm_models_of_other_channels(terminals: Terminals, place: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for channels, verbs in ((1, (("embed", "few", "-o", "y.npy", "-m"), ("probe", "few", "-m"))), (4, (("info",),))):
        stated = {"input_size": [channels, 160, 160]} if channels == 1 else {}
        config = {"architecture": "test_vit", "pretrained_cfg": stated, "model_args": {"in_chans": channels}}
        (tmp_path / "model" / "config.json").write_text(json.dumps(config))
        for words in verbs:
            done = terminals.run(*words, str(tmp_path / "model"), cwd=place)
            assert f"images of {channels} channel" in _one_line(done, code=2)
    assert not (place / "y.npy").exists()


def test_in_python_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import modelgraft
    import modelgraft.registry
    import torch
    from modelgraft.errors import UsageError
    from modelgraft_adapters import LinearProbe, ZeroShotClassifier

    def worked(*given: object, **named: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr(modelgraft.registry, "local_weights", worked)
    monkeypatch.setattr("modelgraft_adapters.estimators.restoring.local_weights", worked)
    for options in (
        {"device": "meta"}, {"device": torch.device("meta")}, {"device": "mps:9"}, {"device": "nowhere"}, {"device": 7.5},
        {"dtype": "float8_e5m2"}, {"dtype": torch.float8_e5m2}, {"dtype": torch.int8}, {"dtype": "int8"}, {"dtype": bool},
    ):  # fmt: skip
        for call in (
            lambda o: modelgraft.load("embedded/sprig", **o),
            lambda o: ZeroShotClassifier(labels=["a", "b"], **o),
            lambda o: LinearProbe("embedded/sprig", **o).fit(
                [str(ROOT / "docs" / "photos" / "cat.jpg")] * 2, ["a", "b"]
            ),
        ):
            with pytest.raises(UsageError, match=r"no device|no dtype|cannot be used"):
                call(options)


def test_every_kind_of_float_that_models_are_run_in() -> None:
    import torch
    from modelgraft.devices import dtype_of

    for name in ("float32", "bfloat16", "float16", "float64", "fp16", "bf16"):
        assert dtype_of(name) is dtype_of(dtype_of(name)) is not None
    assert dtype_of(None) is None and dtype_of(torch.float16) is torch.float16
