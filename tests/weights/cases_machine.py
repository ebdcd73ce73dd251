"""Faults of this machine: the cache on disk, disks, processes, clocks."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from typing import Final

from tests.weights.bench import BIG, BIG_REPO, FILE, NAME, Bench, Pulled, disk, sha256
from tests.weights.rules import REFUSED, RIGHT, Outcome, case, has_it, survived, times_sent, told

YEARS: Final = 365 * 86400

# The cache


def spoil(bench: Bench, how: Callable[[bytes], bytes], *, hidden: bool = False) -> tuple[str, str]:
    """Damage the cached file, load without a network, then pull: refused, set aside, and mended.

    Args:
        hidden: set the file's time of modification back to what it was.
    """
    has_it(bench, bench.pull())
    blob = bench.blob()
    state = blob.stat()
    blob.write_bytes(how(blob.read_bytes()))
    bad = sha256(blob)
    if hidden:
        os.utime(blob, ns=(state.st_atime_ns, state.st_mtime_ns))
    answer = bench.load()
    assert answer.get("error") in ("UnsafeWeightsError", "WeightsUnavailableError", "NotStoredError"), answer
    assert "\n" not in answer["text"] and NAME in answer["text"] and "modelgraft pull" in answer["text"], answer
    assert not bench.files(), "the bad copy still lies where it is read"
    kept = [path for path in (bench.root / "now").rglob("*") if path.is_file() and sha256(path) == bad]
    assert len(kept) == 1 and str(kept[0]) in answer["text"], (kept, answer)
    assert "error" in bench.load()  # what was bad a moment ago has not become good
    has_it(bench, bench.pull())
    return REFUSED + " at the next load, mended by the next pull", bench.plain(answer["text"])


@case("cached file truncated")
def truncated_cache(bench: Bench) -> Outcome:
    return *spoil(bench, lambda data: data[:-100_000]), times_sent(bench)


@case("a byte flipped in the cached file")
def flipped_cache(bench: Bench) -> Outcome:
    return *spoil(bench, lambda data: data[:700_000] + bytes([data[700_000] ^ 1]) + data[700_001:]), times_sent(bench)


@case("cached file replaced by other weights of the same size")
def swapped_cache(bench: Bench) -> Outcome:
    return *spoil(bench, lambda _: bench.other.read_bytes()), times_sent(bench)


@case("a byte flipped in the cached file, its time of modification set back")
def flipped_cache_old_time(bench: Bench) -> Outcome:
    flipped = spoil(bench, lambda data: data[:700_000] + bytes([data[700_000] ^ 1]) + data[700_001:], hidden=True)
    return *flipped, times_sent(bench)


@case("an unfinished download of something else in the cache")
def foreign_partial(bench: Bench) -> Outcome:
    fault = bench.hub.fault(FILE, "hold", after=500_000)
    process = bench.start()
    assert fault.reached.wait(60)
    process.kill()
    process.communicate()
    bench.hub.mend()
    for partial in bench.home.rglob("*.incomplete"):
        partial.write_bytes(b"\xa5" * 600_000)
    return *survived(bench, bench.pull(), "sha256"), ""


@case("read-only cache, nothing in it")
def read_only(bench: Bench) -> Outcome:
    with disk(bench.cache, "32m") as remount:
        remount("ro")
        pulled = bench.pull()
        line = told(bench, pulled, NAME, "HF_HOME|HF_HUB_CACHE")
        assert not bench.files() and "error" in bench.load()
        remount("rw")
        has_it(bench, bench.pull())
    return REFUSED, line, ""


@case("read-only cache, the model in it")
def read_only_full(bench: Bench) -> Outcome:
    with disk(bench.cache, "32m") as remount:
        has_it(bench, bench.pull())
        remount("ro")
        has_it(bench, bench.pull())
    return RIGHT, "", times_sent(bench)


@case("disk full: less room than the file needs")
def disk_full(bench: Bench) -> Outcome:
    with disk(bench.cache, "1m") as remount:
        line = told(bench, bench.pull(), NAME, "HF_HOME|HF_HUB_CACHE|cache prune")
        assert not bench.files() and "error" in bench.load()
        remount("size=32m")
        has_it(bench, bench.pull())
    return REFUSED, re.sub(r"[\d.]+ MB", "… MB", line), ""


@case("disk full in mid-download")
def disk_fills(bench: Bench) -> Outcome:
    with disk(bench.cache, "2m") as remount:
        fault = bench.hub.fault(FILE, "hold", after=500_000)
        process = bench.start()
        assert fault.reached.wait(60)
        (bench.cache / "ballast").write_bytes(b"\0" * 1_000_000)
        bench.hub.mend()
        out, err = process.communicate(timeout=60)
        line = told(bench, Pulled(process.returncode, out, err, 0), NAME, "HF_HOME|HF_HUB_CACHE|cache prune")
        assert not bench.files() and "error" in bench.load()
        remount("size=32m")
        has_it(bench, bench.pull())
    return REFUSED, re.sub(r"[\d.]+ MB", "… MB", line), ""


# Processes and clocks


@case("kill -9 in mid-download, then pull again")
def killed(bench: Bench) -> Outcome:
    pattern, size = (
        f"*{BIG_REPO}/resolve/*/model.safetensors",
        (bench.hub.root / BIG_REPO / "model.safetensors").stat().st_size,
    )
    fault = bench.hub.fault(pattern, "hold", after=11_000_000)
    process = bench.start(BIG)
    assert fault.reached.wait(60)
    until = time.monotonic() + 1.5  # what is on its way to the disk gets there; less than the client's own timeout
    while time.monotonic() < until and bench.partial() < 11_000_000:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    kept = bench.partial()
    assert kept and not bench.files(BIG_REPO) and "error" in bench.load(BIG)
    bench.hub.mend()
    time.sleep(0.1)  # the stand-in notices
    before = bench.sent(pattern)
    has_it(bench, bench.pull(BIG), BIG, BIG_REPO)
    fetched = bench.sent(pattern) - before
    assert fetched == size - kept, (fetched, size, kept)
    return RIGHT, "", f"{kept + fetched - size} bytes on disk fetched again"


@case("two processes pull the same model at once")
def two_at_once(bench: Bench) -> Outcome:
    fault = bench.hub.fault(FILE, "pause", after=500_000, seconds=1.5)
    first = bench.start()
    assert fault.reached.wait(60)
    second = bench.pull()
    out, err = first.communicate(timeout=60)
    has_it(bench, Pulled(first.returncode, out, err, 0))
    has_it(bench, second)
    assert bench.sent() == bench.size
    return RIGHT + " for both", "", times_sent(bench)


@case("clocks: the hub's Date ten years ahead, the cached files' times ten years ahead and then 1970")
def clocks(bench: Bench) -> Outcome:
    bench.hub.fault("*", "date", seconds=10 * YEARS)
    has_it(bench, bench.pull())
    for moment in (time.time() + 10 * YEARS, 0):
        for folder in (bench.home, bench.root / "now" / "modelgraft"):
            for path in folder.rglob("*"):
                os.utime(path, (moment, moment))
        has_it(bench, bench.pull())
    return RIGHT, "", times_sent(bench)
