"""Reads mutated image files in a process of its own, and says what it did beside that.

``python -m tests.adapters.media.decoding_child FOLDER COUNT SEED [GUARD]``: ``COUNT`` mutations of each file that Pillow can write,
in whatever format. GUARD ``formats`` takes the list of formats out. Prints one JSON object: programs started, connections, other
files opened, how many were read and refused, errors of any other kind, and the most memory in MiB.
"""

from __future__ import annotations

import io
import json
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from modelgraft.errors import UnreadableItemError
from modelgraft_adapters.media import images
from PIL import Image, PngImagePlugin

WATCHED = (
    "subprocess.",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.fork",
    "os.startfile",
    "socket.",
    "ctypes.dlopen",
)
MODES = ("RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I", "F")
MOST_MEMORY = 3 << 30


def corpus() -> list[bytes]:
    """One file of each format and mode that Pillow writes, and some with several frames and with metadata."""
    Image.init()
    y, x = np.mgrid[0:24, 0:32]
    base = Image.fromarray(np.stack([x * 8, y * 10, (x + y) * 4], axis=-1).clip(0, 255).astype(np.uint8))
    found = []
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "an image"
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta tiff:Orientation='3'/>" * 20, zip=True)
    text.add_text("Comment", "words " * 500, zip=True)
    options: list[dict[str, Any]] = [{}, {"exif": exif}, {"pnginfo": text, "icc_profile": bytes(3000)}]
    for kind in sorted(Image.SAVE):
        for mode in MODES:
            try:
                picture = base.convert(mode) if mode != "I;16" else Image.fromarray((x * 2000).astype(np.uint16))
                frames = [picture.rotate(90 * n) for n in range(3)]
                more = [{"save_all": True, "append_images": frames}] if kind in Image.SAVE_ALL else []
                for given in [*options, *more]:
                    out = io.BytesIO()
                    picture.save(out, kind, **given)
                    found.append(out.getvalue())
            except (OSError, ValueError, TypeError, KeyError, SystemError, AttributeError):
                continue  # this format does not hold this mode
    return found


def mutated(content: bytes, rng: np.random.Generator, number: int) -> bytes:
    """The file itself first; then with bytes changed, cut, doubled or put in."""
    if number == 0:
        return content
    values = np.frombuffer(content, np.uint8).copy()
    head = len(values) if number % 2 else min(len(values), 64)  # headers are where decoders are chosen
    where = rng.integers(0, head, 1 + number % 6)
    values[where] = rng.integers(0, 256, len(where))
    if number % 5 == 4:
        values = values[: int(rng.integers(1, len(values) + 1))]
    if number % 7 == 6:
        start, end = sorted(rng.integers(0, len(values) + 1, 2).tolist())
        values = np.concatenate([values[:end], values[start:]])
    return values.tobytes()


def main(folder: str, count: int, seed: int, guard: str) -> dict[str, Any]:
    if guard == "formats":
        images.FORMATS = None  # type: ignore[misc,assignment]
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    signal.alarm(500)
    warnings.simplefilter("ignore")
    files = corpus()
    for content in files:  # what is imported late is imported now
        try:
            images.read_image(io.BytesIO(content))
        except UnreadableItemError:
            pass
    rng = np.random.default_rng(seed)
    path = str(Path(folder) / "picture.jpg")
    done: set[str] = set()
    watching = False

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event.startswith(WATCHED):
            done.add(f"{event} {arguments[:2]!r}"[:200])
        if watching and event == "open" and arguments[0] != path:
            done.add(f"open {arguments[0]!r}")

    sys.addaudithook(watch)
    read, refused = 0, 0
    other: set[str] = set()
    for content in files:
        for number in range(count):
            bad = mutated(content, rng, number)
            with open(path, "wb") as file:
                file.write(bad)
            for source in (path, io.BytesIO(bad)):
                watching = True
                try:
                    picture, _ = images.read_image(source)
                    assert picture.mode == "RGB" and picture.resize((8, 8)).tobytes()
                    read += 1
                except UnreadableItemError as error:
                    refused += 1
                    assert str(error) and "\n" not in str(error)
                except BaseException as error:
                    other.add(f"{type(error).__name__}: {error}"[:200])
                watching = False
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {
        "files": len(files),
        "read": read,
        "refused": refused,
        "done": sorted(done),
        "other": sorted(other),
        "peak_mib": peak,
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), "".join(sys.argv[4:]))))
