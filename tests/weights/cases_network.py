"""Faults of the hub and of the way to it: refusals, broken connections, bodies that are not what was announced."""

from __future__ import annotations

import re
import shutil

from tests.weights.bench import ANYTHING, FILE, NAME, REPO, TOKEN, Bench
from tests.weights.rules import REFUSED, RIGHT, Outcome, case, has_it, survived, times_sent, told

# Refusals


@case("401, the token is not accepted")
def unauthorized(bench: Bench) -> Outcome:
    bench.hub.fault(ANYTHING, "401")
    return *survived(bench, bench.pull(HF_TOKEN=TOKEN), "hf auth login|HF_TOKEN"), ""


@case("403, gated")
def gated(bench: Bench) -> Outcome:
    bench.hub.fault(ANYTHING, "gated")
    return *survived(bench, bench.pull(HF_TOKEN=TOKEN), f"terms at {bench.hub.endpoint}/{REPO}.*hf auth login"), ""


@case("gated, and no token (401)")
def gated_no_token(bench: Bench) -> Outcome:
    bench.hub.gate(REPO, TOKEN)
    outcome = survived(bench, bench.pull(), f"terms at {bench.hub.endpoint}/{REPO}.*hf auth login")
    return *outcome, ""


@case("404, no such repository")
def no_repository(bench: Bench) -> Outcome:
    bench.hub.fault(ANYTHING, "no_repo")
    return *survived(bench, bench.pull(), "hf auth login|HF_ENDPOINT"), ""


@case("404, no such revision")
def no_revision(bench: Bench) -> Outcome:
    pulled = bench.pull(f"{NAME}@v9")
    line = told(bench, pulled, NAME, f"no revision 'v9'.*{REPO}")
    assert not bench.files() and "error" in bench.load(f"{NAME}@v9")
    return REFUSED, line, ""


@case("429 with Retry-After, twice")
def throttled(bench: Bench) -> Outcome:
    fault = bench.hub.fault(ANYTHING, "throttled", 2, seconds=1)
    pulled = bench.pull()
    outcome = survived(bench, pulled)
    assert fault.struck == 2 and pulled.seconds > 2
    return *outcome, times_sent(bench)


@case("429 with a Retry-After of a day")
def throttled_for_a_day(bench: Bench) -> Outcome:
    bench.hub.fault(ANYTHING, "throttled", seconds=86400)
    return *survived(bench, bench.pull(within=60), "later|again|token|hf auth login"), ""


@case("429 with a Retry-After of a day, on the file alone")
def file_throttled_for_a_day(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "throttled", seconds=86400, method="GET")
    return *survived(bench, bench.pull(within=60), "later|again|token|hf auth login"), ""


@case("500 twice, then success")
def error_500(bench: Bench) -> Outcome:
    fault = bench.hub.fault(ANYTHING, "500", 2)
    outcome = survived(bench, bench.pull())
    assert fault.struck == 2
    return *outcome, times_sent(bench)


@case("502 twice on the file, then success")
def error_502(bench: Bench) -> Outcome:
    fault = bench.hub.fault(FILE, "502", 2, method="GET")
    outcome = survived(bench, bench.pull())
    assert fault.struck == 2
    return *outcome, times_sent(bench)


@case("503 for good")
def error_503(bench: Bench) -> Outcome:
    bench.hub.fault(ANYTHING, "503")
    return *survived(bench, bench.pull(), "later|again|check|HF_ENDPOINT"), ""


@case("nobody answers at the hub's address")
def unreachable(bench: Bench) -> Outcome:
    pulled = bench.pull(HF_ENDPOINT="http://127.0.0.1:9")
    outcome, line = survived(bench, pulled, "check the network or HF_ENDPOINT")
    return outcome, line.replace("http://127.0.0.1:9", "https://huggingface.co"), ""


@case("redirected in a circle")
def redirected(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "redirect")
    return *survived(bench, bench.pull(), "redirect.*(HF_ENDPOINT|proxy|later|again)"), ""


# Connections


@case("connection reset in mid-file, twice")
def reset(bench: Bench) -> Outcome:
    fault = bench.hub.fault(FILE, "reset", 2, after=500_000)
    outcome = survived(bench, bench.pull())
    assert fault.struck == 2
    return *outcome, times_sent(bench)


@case("connection closed in mid-file, twice")
def closed(bench: Bench) -> Outcome:
    fault = bench.hub.fault(FILE, "cut", 2, after=500_000)
    outcome = survived(bench, bench.pull())
    assert fault.struck == 2
    return *outcome, times_sent(bench)


@case("slow-loris: a byte a second")
def slow(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "slow", after=300_000, seconds=1)
    outcome, line = survived(bench, bench.pull(within=60, MODELGRAFT_STALL_SECONDS="3"), "slow.*(later|again)")
    return outcome, re.sub(r"\([\d,]+ bytes in \d+ s\)", "(… bytes in … s)", line), ""


@case("silence in mid-file (nothing for longer than `HF_HUB_DOWNLOAD_TIMEOUT`), once")
def silence(bench: Bench) -> Outcome:
    fault = bench.hub.fault(FILE, "hold", 1, after=500_000)
    outcome = survived(bench, bench.pull(within=60))
    assert fault.struck == 1
    return *outcome, times_sent(bench)


@case("silence at every try", slow=True)
def silent(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "hold", after=0)
    return *survived(bench, bench.pull(within=60), "HF_HUB_DOWNLOAD_TIMEOUT|later|again"), ""


# Bodies


@case("Content-Length too long, once")
def too_long(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "long", 1, by=5000)
    return *survived(bench, bench.pull()), times_sent(bench)


@case("Content-Length too short, once")
def too_short(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "short", 1, by=5000)
    return *survived(bench, bench.pull()), ""


@case("Content-Length too long, every time")
def always_too_long(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "long", by=5000)
    return *survived(bench, bench.pull(), "later|again|HF_ENDPOINT"), times_sent(bench)


@case("a byte flipped on the way, once")
def flipped_once(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "flip", 1, after=700_000)
    return *survived(bench, bench.pull(), "sha256.*(later|again|HF_ENDPOINT)"), ""


@case("a byte flipped on the way, every time")
def flipped(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "flip", after=700_000)
    outcome, line = survived(bench, bench.pull(), "sha256.*(later|again|HF_ENDPOINT)")
    assert outcome == REFUSED
    return outcome, line, ""


@case("other weights of the same size in the body")
def swapped(bench: Bench) -> Outcome:
    assert bench.other.stat().st_size == bench.size
    bench.hub.fault(FILE, "swap", other=bench.other)
    outcome, line = survived(bench, bench.pull(), "sha256.*(later|again|HF_ENDPOINT)")
    assert outcome == REFUSED
    return outcome, line, ""


@case("reset in mid-file, and the rest is of another file")
def resumed_into_another_file(bench: Bench) -> Outcome:
    bench.hub.fault(FILE, "swap", other=bench.other)
    bench.hub.fault(FILE, "reset", 1, after=500_000)
    return *survived(bench, bench.pull(), "sha256.*(later|again|HF_ENDPOINT)"), ""


@case("other weights under the same name: the repository has moved on to another commit")
def moved_on(bench: Bench) -> Outcome:
    had = bench.pull()
    has_it(bench, had)
    commit = bench.hub.commit(REPO)
    folder = bench.hub.root / REPO
    kept = bench.root / "kept.safetensors"
    shutil.copy(folder / "model.safetensors", kept)
    try:
        shutil.copy(bench.other, folder / "model.safetensors")
        # Who has the pinned commit keeps it, hub or no hub.
        has_it(bench, bench.pull(f"{NAME}@{commit}"))
        assert "error" not in bench.load(f"{NAME}@{commit}")
        # Who has not, and the hub has forgotten it, is told.
        shutil.rmtree(bench.cache)
        line = told(bench, bench.pull(f"{NAME}@{commit}"), NAME, "no revision")
        assert not bench.files()
    finally:
        shutil.copy(kept, folder / "model.safetensors")
    return RIGHT + " where the commit is cached, else " + REFUSED, line, ""
