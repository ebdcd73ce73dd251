"""Plugins that misbehave when they are tried: all of them installed at once, beside a good one and the project's own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.attacks.harness import Place, Verdict

HEAD = "from modelgraft import Entry, hookimpl\nfrom modelgraft.entry import Weights\n"
GOOD = HEAD + (
    "@hookimpl\ndef modelgraft_entries():\n"
    "    return [Entry(name=f'good/m{n}', modality='image', tasks=('features',), params=n + 1) for n in range(100)]\n"
)


def entries(body: str, before: str = "") -> str:
    """A plugin whose hook has this body; ``E`` makes a plain entry, ``P`` is its provider's name."""
    made = (
        "P = __name__.removeprefix('modelgraft_').replace('_', '-')\n"
        "def E(name='m', **more):\n"
        "    return Entry(**{'name': f'{P}/{name}', 'modality': 'image', 'tasks': ('features',), **more})\n"
    )
    return f"{HEAD}{made}{before}\n@hookimpl\ndef modelgraft_entries():\n    {body}\n"


def hook(name: str, body: str) -> str:
    """A plugin with one other hook."""
    return f"from modelgraft import hookimpl\nfrom modelgraft.specs import *\n@hookimpl\ndef {name}():\n    {body}\n"


CASES: dict[str, str] = {
    # Fields
    "params is a bool": entries("return [E(params=True)]"),
    "params is infinite": entries("return [E(params=float('inf'))]"),
    "embed_dim is a text": entries("return [E(embed_dim='512')]"),
    "input_size of texts": entries("return [E(input_size=('3', '224', '224'))]"),
    "tasks is a text": entries("return [E(tasks='features')]"),
    "tasks is a set": entries("return [E(tasks={'features'})]"),
    "default is a text": entries("return [E(default='no')]"),
    "templates of numbers": entries("return [E(templates=(1, 2))]"),
    "templates is a text": entries("return [E(templates='a photo of {}')]"),
    "retired is a number": entries("return [E(retired=(5,))]"),
    "a metric that is no number": entries("return [E(metrics={'ImageNet-1k top-1': 'best'})]"),
    "a metric that is infinite": entries("return [E(metrics={'ImageNet-1k top-1': float('inf')})]"),
    "a metric by a number": entries("return [E(metrics={5: 1.0})]"),
    "weights with a number for a repository": entries("return [E(weights=Weights(repo=5))]"),
    "weights with a negative size": entries("return [E(weights=Weights(repo='a/b', size=-5))]"),
    "weights with files as a text": entries("return [E(weights=Weights(repo='a/b', files='*.json'))]"),
    "weights with a digest that is none": entries("return [E(weights=Weights(url='https://x.org/a', sha256='abc'))]"),
    "a loader of objects": entries("return [E(loader={'f': print})]"),
    "a loader that holds itself": entries("d = {}; d['d'] = d; return [E(loader=d)]"),
    "a loader with NaN": entries("return [E(loader={'x': float('nan')})]"),
    "a loader of bytes": entries("return [E(loader={b'x': 1})]"),
    "preprocessing with a set": entries("return [E(preprocessing={'mean': {0.5}})]"),
    "a note of two lines": entries("return [E(note='all is well\\nmodelgraft: error: buy evil')]"),
    "a note with a lone surrogate": entries("return [E(note='\\ud800')]"),
    "a licence with an escape": entries("return [E(licence='mit\\x1b[2J')]"),
    "a name with an escape": entries("return [E(name='m\\x1b[31m')]"),
    "a name with zero width": entries("return [E(name='m\\u200bm')]"),
    "a name written backwards": entries("return [E(name='m\\u202egnp')]"),
    "a name of 100,000 letters": entries("return [E(name='m' * 100_000)]"),
    "a name that is a kind of text": entries(
        "return [E(name=T('m'))]", "class T(str):\n    def __format__(self, spec): return 'x\\x1b]0;gotcha\\x07'\n"
    ),
    "an entry of a kind of its own": entries(
        "return [Sub(name=f'{P}/m', modality='image', tasks=('features',))]",
        "class Sub(Entry):\n    def to_dict(self): return {'name': ['not a name'], 'modality': 7}\n    def check(self): pass\n",
    ),
    "an entry changed after it was made": entries("e = E(); object.__setattr__(e, 'name', None); return [e]"),
    # Answers
    "gives a number": entries("return 5"),
    "gives a text": entries("return 'abc'"),
    "gives a dict": entries("return {'a': 1}"),
    "gives one entry": entries("return E()"),
    "gives entries without end": entries("while True: yield E(str(id(object())))"),
    "gives two million entries": entries("return (E(str(n)) for n in range(2_000_000))"),
    "raises after the first": entries("yield E(); raise OSError('the disk is gone')"),
    "a head without tasks": hook("modelgraft_heads", "return [HeadSpec('h', 'a.b:C', 'help', tasks=())]"),
    "a head with an escape in its help": hook("modelgraft_heads", "return [HeadSpec('h1', 'a.b:C', 'he\\x1blp')]"),
    "a head of no place": hook("modelgraft_heads", "return [HeadSpec('h2', '', 'help')]"),
    "a head twice": hook("modelgraft_heads", "return [HeadSpec('h3', 'a.b:C', 'x'), HeadSpec('h3', 'a.b:D', 'x')]"),
    "a verb without a name": hook("modelgraft_verbs", "return [VerbSpec('', 'a.b:c', 'help')]"),
    "a verb that is an option": hook("modelgraft_verbs", "return [VerbSpec('--help', 'a.b:c', 'help')]"),
    "a verb named list": hook("modelgraft_verbs", "return [VerbSpec('list', 'a.b:c', 'help')]"),
    "a verb named classify": hook("modelgraft_verbs", "return [VerbSpec('classify', 'a.b:c', 'help')]"),
    "a verb with bytes for help": hook("modelgraft_verbs", "return [VerbSpec('v', 'a.b:c', b'help')]"),
    "a source for hf": hook("modelgraft_sources", "return [SourceSpec('hf', 'a.b:C', 'help')]"),
    "a source for files": hook("modelgraft_sources", "return [SourceSpec('file', 'a.b:C', 'help')]"),
    "a source of a scheme with blanks": hook("modelgraft_sources", "return [SourceSpec('s 3', 'a.b:C', 'help')]"),
    "a head named linear": hook("modelgraft_heads", "return [HeadSpec('linear', 'a.b:C', 'help')]"),
    # Names of others
    "an entry of the embedded model's name": entries(
        "return [E(), Entry(name='embedded/sprig', modality='image', tasks=('features',))]"
    ),
    "an alias of the embedded model": entries("return [E(aliases=('embedded/sprig', 'sprig'))]"),
    "retires resnet50": entries("return [E(retired=('timm/resnet50', 'resnet50'))]"),
    "a default tag of timm": entries(
        "return [Entry(name='timm/resnet50:evil', modality='image', tasks=('features',), default=True)]"
    ),
    "a hub repository as an alias": entries(
        "return [E(aliases=('sentence-transformers/all-MiniLM-L6-v2', 'all-MiniLM-L6-v2'))]"
    ),
    "a provider of another's name in capitals": entries(
        "return [Entry(name='Embedded/Sprig', modality='image', tasks=('features',), default=True)]"
    ),
    "a provider in letters that look alike": entries(
        "return [Entry(name='\\u0435mbedded/sprig', modality='image', tasks=('features',))]"
    ),
    # The process it is tried in
    "leaves a thread behind": entries(
        "import threading, time; threading.Thread(target=time.sleep, args=(3000,)).start(); return [E()]"
    ),
    "ends the process from a thread": entries(
        "import threading, os, time; threading.Timer(0.05, os._exit, [0]).start(); time.sleep(30); return [E()]"
    ),
    "hangs at exit": entries("import atexit, time; atexit.register(time.sleep, 3000); return [E()]"),
    "leaves a child behind": entries(
        "import subprocess, sys\n"
        "    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)  # attack-orphan']); return [E()]"
    ),
    "sets an alarm": entries("import signal, time; signal.alarm(1); time.sleep(30); return [E()]"),
    "ignores to be ended": entries(
        "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT)]; time.sleep(3000)"
    ),
    "closes every file": entries("import os; os.closerange(3, 4096); return [E()]"),
    "closes its outputs": entries("import os; os.close(1); os.close(2); return [E()]"),
    "prints without end": entries("import sys\n    while True: print('x' * 1_000_000)"),
    "complains without end": entries("import sys\n    while True: sys.stderr.write('x' * 1_000_000)"),
    "changes the folder and the path": entries("import os, sys; os.chdir('/'); sys.path.clear(); return [E()]"),
    "no files allowed": entries("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); return [E()]"),
    "recursion without end": entries("import sys; sys.setrecursionlimit(10 ** 9); f = lambda: f(); f()"),
    "an error that cannot be told": entries(
        "raise Odd()", "class Odd(BaseException):\n    def __str__(self): raise Odd()\n    __repr__ = __str__\n"
    ),
    "an error of ten megabytes": entries("raise ValueError('x' * 10_000_000)"),
    "an error with an escape": entries("raise ValueError('\\x1b[2Jgotcha\\u202e')"),
    "leaves as if all were well": entries("import os; os._exit(0)"),
    "a generator's own exit": entries("raise GeneratorExit"),
    "interrupts": entries("raise KeyboardInterrupt"),
    "out of memory": entries("raise MemoryError"),
    "spoils json": entries("import json; json.dumps = lambda *a, **k: '{\"garbled'; return [E()]"),
    "spoils the check": entries("Entry.check = lambda self: None; return [E(modality='smell', params='many')]"),
    "writes the answer itself": entries(
        "import sys, os; [open(a, 'w').write('{}\\n' * 99) for a in sys.argv[1:] if os.path.isfile(a)]; return [E()]"
    ),
    "lists models while it is asked for them": entries("import modelgraft; modelgraft.list_models(); return [E()]"),
    "takes the host's module away": entries("import sys; sys.modules['modelgraft.entry'] = None; return [E()]"),
    "API of the past": "MODELGRAFT_API = 0\n" + entries("return [E()]"),
    "API that is true": "MODELGRAFT_API = True\n" + entries("return [E()]"),
    "API of 1.5": "MODELGRAFT_API = 1.5\n" + entries("return [E()]"),
    "a hook around others": HEAD
    + "@hookimpl(wrapper=True)\ndef modelgraft_entries():\n    found = yield\n    return [[]]\n",
    "a plugin that answers to everything": "import sys\nclass Any:\n    def __getattr__(self, name): return self\n"
    "    def __call__(self, *a, **k): return self\nsys.modules[__name__] = Any()\n",
}

METADATA: dict[str, dict[str, Any]] = {
    "entry point os:system": {"value": "os:system"},
    "entry point sys:exit": {"value": "sys:exit"},
    "entry point of the project's own module": {"value": "modelgraft_adapters.plugin", "name": "adapters"},
    "entry point with extras": {"value": "{module} [speed,more]"},
    "entry point of nothing": {"value": "not a module at all!"},
    "version that is none": {"version": "first"},
    "metadata in Latin-1": {"files": {"METADATA": b"Metadata-Version: 2.1\nName: x\xe9\xff\nVersion: 1\n"}},
    "no metadata": {"files": {"METADATA": b""}},
    "entry points that are no list": {"files": {"entry_points.txt": b"[modelgraft\n= = =\n\xff\xfe"}},
    "entry points of a megabyte": {
        "files": {"entry_points.txt": b"[modelgraft]\n" + b"".join(b"n%d = nowhere\n" % n for n in range(300))}
    },
}
FINE = frozenset(
    # These may work: what they do harms nobody, or is put right.
    [
        "a loader with NaN",
        "leaves a thread behind",
        "hangs at exit",
        "leaves a child behind",
        "closes every file",
        "closes its outputs",
        "changes the folder and the path",
        "no files allowed",
        "entry point with extras",
        "version that is none",
        "metadata in Latin-1",
        "spoils the check",
        "spoils json",
        "takes the host's module away",
        "an entry of a kind of its own",
        "a name that is a kind of text",
        "a default tag of timm",
        "a provider of another's name in capitals",
        "a metric that is infinite",
        "no metadata",
        "writes the answer itself",
        "lists models while it is asked for them",
        "a hook around others",
        "retires resnet50",
        "an alias of the embedded model",
        "a hub repository as an alias",
        "tasks is a set",
        "weights with a digest that is none",
    ]
)


def distribution(number: int) -> str:
    """The name of the distribution of a case."""
    return f"modelgraft-attack{number:03d}"


def run(place: Place, photos: Path) -> list[Verdict]:
    """Install all cases, and see that every command answers as it did before."""
    place.install("modelgraft-good", GOOD)
    questions = {
        "list": ["list", "--format", "json"],
        "info": ["info", "resnet50", "--format", "json"],
        "sprig": ["info", "sprig", "--format", "json"],
        "minilm": ["info", "all-MiniLM-L6-v2", "--format", "json"],
        "help": ["--help"],
        "classify": ["classify", str(photos), "--labels", "cat,cup,rocket", "--format", "json"],
        "cache": ["cache"],
    }
    before = {name: place.cold(*words) for name, words in questions.items()}
    assert all(done.code == 0 for done in before.values()), before
    names = {}
    for number, (name, code) in enumerate(CASES.items()):
        names[distribution(number)] = name
        place.install(distribution(number), code)
    for number, (name, about) in enumerate(METADATA.items(), len(CASES)):
        names[distribution(number)] = name
        module = distribution(number).replace("-", "_")
        value = about.get("value", module).format(module=module)
        place.install(distribution(number), entries("return [E()]"), **{**about, "value": value})
    started = time.monotonic()
    told = place.cold("plugins", "--format", "json", seconds=400, MODELGRAFT_PLUGIN_TIMEOUT="15")
    took = time.monotonic() - started
    rows = {row["distribution"]: row for row in told.json() or ()}
    after = {name: place.cold(*words, MODELGRAFT_PLUGIN_TIMEOUT="15") for name, words in questions.items()}
    shared = _shared(before, after)
    shared += [] if took < 100 else [f"others: the trials took {took:.0f} s"]
    shared += [f"others: {line}" for line in _left_running()]
    doctor = place.cold("doctor", MODELGRAFT_PLUGIN_TIMEOUT="15")
    if "Traceback" in doctor.err or doctor.code not in (0, 1):
        shared.append(f"others: doctor leaves with {doctor.code}")
    table = place.cold("plugins")
    if any(not c.isprintable() and c not in "\n" for c in table.out + doctor.out):
        shared.append("garbled: a control character in a table")
    verdicts = [Verdict("what all commands say beside them", "all at once", "right", "", shared)]
    for wanted, name in names.items():
        row = next((row for name_of, row in rows.items() if name_of.startswith(wanted)), None)
        faults = []
        if row is None:
            said = next((line for line in told.err.splitlines() if wanted in line), "")
            if not said and name not in ("metadata in Latin-1", "no metadata", "entry points that are no list"):
                faults.append("unnamed: not in modelgraft plugins")
        else:
            said = row["error"] or ""
            if row["status"] == "ok" and name not in FINE:
                faults.append("silent: taken for good")
            if row["status"] != "ok" and not said:
                faults.append("unnamed: no reason")
            if any(not c.isprintable() for c in said):
                faults.append("garbled: a control character in the reason")
            if len(said) > 1500:
                faults.append(f"a reason of {len(said):,} characters")
        verdicts.append(Verdict("plugins, when they are tried", name, "contained", said[:200], faults))
    return verdicts


def _shared(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    faults = []
    for name, old in before.items():
        new = after[name]
        if new.code != 0:
            faults.append(f"others: {name} leaves with {new.code}: {new.err[-300:]}")
        elif name == "list":
            listed, strangers = {row["name"]: row for row in new.json()}, 0
            for row in old.json():
                if listed.get(row["name"]) != row:
                    faults.append(f"others: list tells something else of {row['name']}")
            strangers = len(listed) - len(old.json())
            if strangers > 100:
                faults.append(f"others: {strangers} models of the hostile plugins are listed")
        elif name == "help":
            missing = [line for line in old.out.splitlines() if line not in new.out]
            faults += [f"others: help lacks {line.strip()!r}" for line in missing]
        elif name != "cache" and new.out != old.out:
            faults.append(f"others: {name} answers otherwise")
    return faults


def _left_running() -> list[str]:
    """Processes of the attacks that are still there."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any("attack-orphan" in word for word in words) and int(folder.name) != os.getpid():
            found.append(f"process {folder.name} is still running: {' '.join(words)[:80]}")
    return found
