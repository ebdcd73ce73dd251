"""The process that tries plugins: what hostile ones do to it, to each other, and to the command that asked."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from modelgraft.host import trials

from tests.host.environments import Site, good

WAIT = "import time\ntime.sleep(600)"
LINE = (  # to the process above
    "import inspect, os\nframe = inspect.currentframe()\nwhile 'line' not in frame.f_locals: frame = frame.f_back\n"
    "line = frame.f_locals['line']\n"
)
MANY = (
    "from modelgraft import Entry, hookimpl\n@hookimpl\ndef modelgraft_entries():\n"
    "    n = 0\n    while True:\n        n += 1\n"
    "        yield Entry(name=f'many/m{n}', modality='image', tasks=('features',))\n"
)
# Name -> code, what `modelgraft plugins` says (None: it works).
HOSTILE: dict[str, tuple[str, str | None]] = {
    "keyboard": ("raise KeyboardInterrupt\n", "KeyboardInterrupt"),
    "generator-exit": ("raise GeneratorExit('bye')\n", "GeneratorExit: bye"),
    "no-text": ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E\n", "E, whose text cannot be read"),
    "long-text": ("raise ValueError('x' * 10**7 + chr(27))\n", "ValueError: xxx"),
    "escapes": ("raise ValueError('a\\x1b[2Jb\\u202ec\\nd')\n", "a\\x1b[2Jb\\u202ec d"),
    "exit-object": ("class X:\n    def __repr__(self): raise ValueError\nraise SystemExit(X())\n", "calls sys.exit(an object"),
    "floods-stdout": (good("a1", "import os\nfor _ in range(3000): os.write(1, b'x' * 65536)"), "prints to standard output"),
    "floods-stderr": (good("a2", "import os\nfor _ in range(3000): os.write(2, b'x' * 65536)"), None),
    "thread": (good("a3", "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()"), None),
    "closes": (good("a4", "import os\nos.closerange(0, 4096)"), "crashes the interpreter"),
    "elsewhere": (good("a5", "import os, sys\nos.chdir('/')\nos.environ.clear()\nsys.path[:] = []\nsys.stdout = None"), None),
    "deaf": (good("a6", "import signal\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)"), None),
    "no-json": (good("a7", "import json\njson.dumps = lambda *a, **k: 'garbled'"), None),
    "no-os": (good("a8", "import os\nos.write = os.read = os._exit = None"), None),
    "scribbles": (
        good("a9", "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'{]' * 9 + b'\\n')\n    except OSError: pass"),
        "cannot be read",
    ),
    "forges": (
        "import inspect, json, os\nframe = inspect.currentframe()\nwhile 'line' not in frame.f_locals: frame = frame.f_back\n"
        "from modelgraft.host.records import new_record\n"
        "record = new_record(frame.f_locals['found']) | {'entries': [{'name': 5, 'modality': 'image', 'tasks': []}]}\n"
        "os.write(frame.f_locals['line'], json.dumps(record).encode() + b'\\n')\nos._exit(0)\n",
        "cannot be read (ValueError: the model 5: name must be a model name, not 5)",
    ),
    "unchecked": (
        "import modelgraft.fields, modelgraft.entry\nmodelgraft.entry.Entry.check = lambda self: None\n"
        + good("b2").replace("tasks=", "licence=5, tasks="),
        "licence must be a licence by its name, not 5",
    ),
    "endless": (MANY, "gives more than 200,000 Entry objects"),
    "nests": (good("b3", within="import modelgraft; modelgraft.list_models()"), "while it is being tried itself"),
    "starts": (
        good(
            "b4",
            "import subprocess, sys, pathlib\nCODE = 'import time; time.sleep(600)'\nfor new in (False, True):\n"
            "    p = subprocess.Popen([sys.executable, '-c', CODE], start_new_session=new)\n"
            "    pathlib.Path(__file__).with_name(f'pid-{new}').write_text(str(p.pid))",
        ),
        None,
    ),
    "aborts": ("import os\nos.abort()\n", "signal 6"),
    "quits": ("import os\nos._exit(0)\n", "ended its process while it loads (os._exit)"),
    "stack": ("def f(): f()\nf()\n", "RecursionError"),
    "stops": ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\n", "signal 15"),
    "answers-lines": (LINE + "for _ in range(9): os.write(line, b'x\\n' * 30000)\n", "cannot be read"),
    "answers-gigabytes": (LINE + "while True: os.write(line, b'x' * 65536)\n", "its answer has more than 268,435,456 bytes"),
    "modules": ("import sys\nfor m in list(sys.modules):\n    if m != __name__: del sys.modules[m]\n" + good("c1"), "Error"),
    "builtins": ("import builtins\nfor n in ('len', 'isinstance', 'str', 'dict', 'type'): setattr(builtins, n, None)\n", "crashes"),
    "traces": ("import sys\ndef t(*a): raise SystemExit('trace')\nsys.settrace(t)\n" + good("c2"), "calls sys.exit('trace')"),
    "alarm": ("import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.001)\ntime.sleep(9)\n", "signal 14"),
    "hooks": (good("c3", "import sys\nsys.excepthook = sys.unraisablehook = lambda *a: 1 / 0"), None),
    "shallow": (good("c4", "import sys\nsys.setrecursionlimit(60)"), None),
    "lazy": ("def __getattr__(name): raise SystemExit(name)\n" + good("c5"), "calls sys.exit('MODELGRAFT_API')"),
    "streams": (good("c6", "import sys\nsys.argv[:] = []\nsys.stdin = sys.stderr = None"), None),
    "forks": (
        good("c7", "import os, time\nfor _ in range(20):\n    if os.fork() == 0:\n        os.setsid()\n        time.sleep(600)"),
        None,
    ),
    "wrapper": (
        "from modelgraft import hookimpl\n@hookimpl(wrapper=True)\ndef modelgraft_entries():\n    return (yield)\n",
        "is marked as a wrapper",
    ),
}  # fmt: skip


def _is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def _gone(pid: int, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while _is_alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    return not _is_alive(pid)


@pytest.mark.full
def test_what_hostile_plugins_do_stays_theirs(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for name, (code, _) in HOSTILE.items():
        site.add(name, code)
    for n in range(5):
        site.add(f"good{n}")
    reports = site.reports()
    for name, (_, expected) in HOSTILE.items():
        report = reports[name]
        error = report["error"] or ""
        assert (expected is None) == (report["status"] == "ok") and (expected or "") in error, report
        assert error.isprintable() and len(error) < 1200
    assert all(reports[f"good{n}"]["status"] == "ok" for n in range(5))
    for pid in tmp_path.glob("site/pid-*"):
        assert _gone(int(pid.read_text())), "what a plugin started outlived its trial"
    listed = site.run("list", "--format", "json")
    assert listed.returncode == 0 and {f"good{n}/m" for n in range(5)} <= {e["name"] for e in json.loads(listed.stdout)}
    assert sum(f.stat().st_size for f in site.cache.iterdir()) < 10**7
    for command in ("--help", "plugins", "doctor"):
        assert "Traceback" not in site.run(command).stderr


@pytest.mark.full
def test_hanging_plugins_share_one_limit_and_cost_no_other_its_result(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for n in range(4):
        site.add(f"hangs{n}", WAIT if n % 2 else "while True: pass")
    for n in range(10):
        site.add(f"works{n}")
    limit = {trials.TIMEOUT: "16"}
    start = time.monotonic()
    done = site.run("plugins", "--format", "json", env=limit)
    assert time.monotonic() - start < 60  # four limits would be 64
    reports = {r["distribution"].removeprefix("modelgraft-"): r for r in json.loads(done.stdout)}
    for n in range(4):
        assert (
            reports[f"hangs{n}"]["status"] == "failed" and "did not finish loading in" in reports[f"hangs{n}"]["error"]
        )
    assert {reports[f"works{n}"]["status"] for n in range(10)} == {"ok"}
    (line,) = done.stderr.splitlines()
    assert line.startswith("modelgraft: trying newly installed plugins") and "modelgraft-hangs0" in line
    # Known by now: nothing is waited for, unless there is more time than was not enough.
    assert site.run("plugins", env=limit).stderr == ""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_trial_outlives_the_command(how: signal.Signals, tmp_path: Path) -> None:
    site = Site(tmp_path)
    note = tmp_path / "pid"
    site.add(
        "hangs",
        f"import os, pathlib\npathlib.Path({str(note)!r}).write_text(f'{{os.getpid()}} {{os.getppid()}}')\n{WAIT}",
    )
    process = site.start("list")
    until = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    pids = [int(word) for word in note.read_text().split()]
    assert all(map(_is_alive, pids))
    process.send_signal(how)
    process.communicate(timeout=60)
    assert all(map(_gone, pids))


@pytest.mark.full
def test_processes_at_once_try_each_distribution_once(tmp_path: Path) -> None:
    site = Site(tmp_path)
    count = tmp_path / "count"
    for n in range(4):
        code = (
            f"import os, time\ntime.sleep(0.5)\nfd = os.open({str(count)!r}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\n"
        )
        site.add(f"p{n}", good(f"p{n}", code + f"os.write(fd, b'{n}')"))
    running = [site.start("list", "--format", "json") for _ in range(5)]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert {f"p{n}/m" for n in range(4)} <= {entry["name"] for entry in json.loads(out)}
    assert sorted(count.read_text()) == ["0", "1", "2", "3"]


@pytest.mark.full
def test_whoever_tries_plugins_may_die(tmp_path: Path) -> None:
    """A process that is killed in mid-trial leaves the lock to the next."""
    site = Site(tmp_path)
    note = tmp_path / "first"
    code = f"import pathlib, time\nnote = pathlib.Path({str(note)!r})\nif not note.exists():\n    note.touch()\n    time.sleep(600)"
    site.add("slow-once", good("slow", code))
    first = site.start("list")
    until = time.monotonic() + 60
    while not note.exists() and time.monotonic() < until:
        time.sleep(0.05)
    second = site.start("list", "--format", "json")
    time.sleep(1)
    assert second.poll() is None
    first.kill()
    out, _ = second.communicate(timeout=60)
    first.communicate()
    assert "slow/m" in {entry["name"] for entry in json.loads(out)}


@pytest.mark.full
def test_a_plugin_that_kills_the_process_above_is_found_out(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("kills-up", "import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(60)\n")
    for n in range(2):
        site.add(f"z{n}", good(f"z{n}", "import time\ntime.sleep(1)"))
    reports = site.reports()
    assert reports["kills-up"]["error"] == "kills the process that tries it"
    assert {r["status"] for name, r in reports.items() if name != "kills-up"} == {"ok"}


@pytest.mark.full
def test_a_cache_that_cannot_be_written_costs_time_and_nothing_else(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("works")
    site.cache.write_text("a file where the folder would be")
    assert site.reports()["works"]["status"] == "ok"
    assert site.reports()["works"]["status"] == "ok"


@pytest.mark.parametrize("text", ["soon", "nan", "-1", "0", "inf", "1e9"])
def test_a_limit_that_is_no_time(text: str, tmp_path: Path) -> None:
    site = Site(tmp_path)
    done = site.run("plugins", env={trials.TIMEOUT: text})
    assert done.returncode == 2 and f"{trials.TIMEOUT}={text} is no number of seconds" in done.stderr


@pytest.mark.full
def test_more_time_is_taken_when_it_is_given(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.add("slow", good("slow", "import time\ntime.sleep(3)"))
    assert site.reports({trials.TIMEOUT: "2"})["slow"]["status"] == "failed"
    assert site.reports({trials.TIMEOUT: "1"})["slow"]["status"] == "failed"
    assert site.reports()["slow"]["status"] == "ok"


def test_inside_a_trial_the_host_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelgraft.errors import PluginError
    from modelgraft.host.snapshot import records_for

    monkeypatch.setenv(trials.INSIDE, "1")
    with pytest.raises(PluginError, match="while it is being tried itself"):
        records_for([])
    assert os.environ[trials.INSIDE]
