"""Images, tables, tars, texts, labels and names as strangers send them, through the command line."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

from tests.attacks.harness import Done, Place, Verdict, alike, judge

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) (w) file closefile\nshowpage\n"


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int = 8, colour: int = 2, *chunks: bytes, rows: bytes | None = None) -> bytes:
    """A PNG of one colour, with more chunks before its pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    line = b"\0" + b"\x80" * (width * channels * depth // 8)
    packer = zlib.compressobj(9)
    if rows is None:
        rows = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + _chunk(b"IDAT", rows) + _chunk(b"IEND", b"")


def tiff(tags: list[tuple[int, int, int, int]], pixels: bytes, next_page: int = 0) -> bytes:
    """A little-endian TIFF: tags (number, kind, count, value), then its pixels."""
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    tags = sorted([*tags, (273, 4, 1, start)])
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + body + struct.pack("<I", next_page) + pixels


def grey(width: int, height: int, bits: int, kind: int, pixels: bytes, next_page: int = 0) -> bytes:
    """A TIFF of one channel; ``kind`` of its samples: 1 whole, 3 floats."""
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, bits),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (277, 3, 1, 1),
        (278, 4, 1, height),
    ]
    return tiff([*tags, (279, 4, 1, len(pixels)), (339, 3, 1, kind)], pixels, next_page)


def images(photo: bytes) -> dict[str, bytes]:
    """Hostile and broken images by file name."""
    from PIL import Image

    def made(format: str, mode: str = "RGB", **how: Any) -> bytes:
        out = io.BytesIO()
        Image.new(mode, (40, 30), 128 if mode in ("L", "I", "F") else None).save(out, format, **how)
        return out.getvalue()

    bomb = zlib.compress(b"A" * 80_000_000, 9)
    return {
        "postscript.png": EPS,
        "postscript-dos.jpg": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(EPS)) + b"\0" * 20 + EPS,
        "pdf.jpg": b"%PDF-1.4\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n",
        "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "metafile.jpg": b"\xd7\xcd\xc6\x9a" + b"\0" * 60,
        "enhanced-metafile.jpg": b"\x01\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 80,
        "script.gif": b"#!/bin/sh\ntouch trap\n",
        "pcx.jpg": made("PCX"),
        "xbm.jpg": b"#define im_width 8\n#define im_height 1\nstatic char im_bits[] = {\n0x00};\n",
        "spider.tif": made("SPIDER", "F"),
        "icns.jpg": b"icns" + struct.pack(">I", 1 << 31) + b"ic10" + struct.pack(">I", 1 << 30),
        "fits.jpg": b"SIMPLE  =                    T" + b" " * 2850,
        "grib.jpg": b"GRIB" + b"\0" * 100,
        "hdf5.jpg": b"\x89HDF\r\n\x1a\n" + b"\0" * 100,
        "huge-header.png": png(100_000, 100_000, rows=b""),
        "wide.png": png(300_000, 1),
        "bomb-16-bit.png": png(9_000, 9_000, 16, 0),
        "text-bomb.png": png(8, 8, 8, 2, _chunk(b"zTXt", b"k\0\0" + bomb)),
        "itxt-bomb.png": png(8, 8, 8, 2, _chunk(b"iTXt", b"k\0\1\0\0\0" + bomb)),
        "profile-bomb.png": png(8, 8, 8, 2, _chunk(b"iCCP", b"p\0\0" + bomb)),
        "bad-checksum.png": png(8, 8)[:-20] + b"\0" * 20,
        "no-size.png": png(0, 0, rows=zlib.compress(b"")),
        "floats-nan.tif": grey(8, 8, 32, 3, struct.pack("<64f", *[float("nan")] * 64)),
        "floats-one-nan.tif": grey(8, 8, 32, 3, struct.pack("<64f", *[0.5] * 63, float("nan"))),
        "floats-infinite.tif": grey(8, 8, 32, 3, struct.pack("<64f", *[0.5] * 63, float("inf"))),
        "samples-of-64-bits.tif": grey(8, 8, 64, 1, b"\1" * 512),
        "pages-in-a-circle.tif": grey(8, 8, 8, 1, b"\x80" * 64, next_page=8),
        "no-tags.tif": b"II*\0\x08\0\0\0\0\0\0\0\0\0",
        "tags-beyond.tif": b"II*\0\xff\xff\xff\x7f",
        "a-billion-samples.tif": tiff(
            [(256, 4, 1, 1 << 30), (257, 4, 1, 1 << 30), (258, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)], b""
        ),
        "frames.gif": made(
            "GIF", save_all=True, append_images=[Image.new("RGB", (40, 30), (n, 0, 0)) for n in range(40)]
        ),
        "cut.jpg": photo[: len(photo) // 2],
        "zeros.jpg": photo[:200] + b"\0" * 5_000,
        "comment.jpg": photo[:2] + b"\xff\xfe\xff\xff" + b"A" * 65_533 + photo[2:],
        "exif-loop.jpg": photo[:2]
        + b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0"
        + photo[2:],
        "icon.ico": b"\0\0\1\0\xff\xff" + b"\0" * 4_000,
        "cursor.ico": b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, 1 << 31, 22),
        "targa.tga": b"\0\0\x0a" + b"\0" * 9 + struct.pack("<HHBB", 65_535, 65_535, 32, 0),
        "jp2.jp2": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + b"\0" * 40,
        "avif.avif": b"\0\0\0\x1cftypavif\0\0\0\0" + b"mif1miafavif" + b"\xff" * 100,
        "webp.webp": b"RIFF\xff\xff\xff\x7fWEBPVP8X" + b"\xff" * 40,
        "ppm.ppm": b"P6 99999999999999999999 1 255\n",
        "ppm-deep.pgm": b"P5 4 4 65536\n" + b"\1" * 32,
        "empty.jpg": b"",
    }


NAMES = {
    "an escape": "a\x1b]0;gotcha\x07\x1b[2J.jpg",
    "a line break": "a\nmodelgraft: error: buy evil.jpg",
    "written backwards": "a\u202egpj.exe.jpg",
    "zero width": "a\u200b\u2060.jpg",
    "not UTF-8": os.fsdecode(b"a\xff\xfe.jpg"),
    "a formula": "=cmd|' -C calc'!A0.jpg",
    "markup": "<img src=x onerror=alert(1)>.jpg",
    "blanks": "  a  .jpg",
    "a pattern": "a[0-9]*.jpg",
    "very long": "n" * 240 + ".jpg",
    "an option": "--debug.jpg",
    "a tab": "a\tb.jpg",
    "a bell": "a\x07.jpg",
    "a C1 control": "a\x9b31m.jpg",
}


def run(place: Place, photos: Path) -> list[Verdict]:
    """Images, names, tables, tars, texts and labels."""
    return [*_images(place, photos), *_names(place, photos), *_tables(place, photos), *_words(place, photos)]


def _rows(done: Done) -> dict[str, Any]:
    found = done.json()
    return {row["path"]: row for row in found} if isinstance(found, list) else {}


def _images(place: Place, photos: Path) -> list[Verdict]:
    """All of them in one folder between good ones; then pipes and devices."""
    folder, tools = place.folder / "images", place.folder / "bin"
    folder.mkdir()
    tools.mkdir()
    for name in ("gs", "gswin64c", "convert", "djpeg", "dcraw"):
        (tools / name).write_text(f"#!/bin/sh\nmkdir {place.trap}\n")
        (tools / name).chmod(0o755)
    good = sorted(photos.glob("*.jpg"))
    for photo in good:
        shutil.copy(photo, folder / photo.name)
    hostile = images(good[0].read_bytes())
    for name, content in hostile.items():
        (folder / name).write_bytes(content)
    words = ["classify", "--labels", "cat,cup,rocket", "--format", "json", "--device", "cpu"]
    env = {"PATH": f"{tools}:{os.environ['PATH']}"}
    alone = _rows(place.run(*words, *good, seconds=200))
    verdicts = []
    for name in hostile:
        shutil.rmtree(place.trap, ignore_errors=True)
        done = place.run(*words, good[0], folder / name, good[1], env=env)
        rows = _rows(done)
        row = rows.get(str(folder / name))
        faults = []
        if done.code is None:
            faults.append("hangs")
        if done.audit or place.trap.exists():
            faults.append(f"code ran: {done.audit[:1]}")
        if not all(alike(rows.get(str(photo)), alone[str(photo)]) for photo in good[:2]):
            faults.append(f"others: the photographs beside it; {done.err[-200:]}")
        if (
            row is None
            or (row["error"] is None) == (row["label"] is None)
            or (row["error"] is None) != (done.code == 0)
        ):
            faults.append("silent: neither a label nor a reason")
        elif row["error"] is None and name in WRONG_IF_READ:
            faults.append(f"silent: read as {row['label']}")
        said = (row or {}).get("error") or ""
        verdicts.append(Verdict("images", name, "refused" if said else "right", said, faults))
    pipe = place.folder / "pipes" / "pipe.jpg"  # one that is named on the command line is waited for, as `cat` does
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    for name, path, row_of in (
        ("a pipe in a folder", pipe.parent, pipe),
        ("a device", Path("/dev/zero"), Path("/dev/zero")),
        ("memory of a process", Path("/proc/self/mem"), Path("/proc/self/mem")),
        ("a folder without end", Path("/proc/self/task"), Path("/proc/self/task")),
    ):
        done = place.run(*words, good[0], path, seconds=30)
        if len(done.errors) == 1 and done.code == 2:
            verdicts.append(judge("images", name, done, right=False, culprit=str(path)))
        else:
            row = _rows(done).get(str(row_of), {})
            faults = [] if done.code == 1 and row.get("error") else ["hangs" if done.code is None else "silent"]
            verdicts.append(Verdict("images", name, "refused", row.get("error") or "", faults))
    return verdicts


WRONG_IF_READ = frozenset(
    [
        "postscript.png",
        "postscript-dos.jpg",
        "pdf.jpg",
        "svg.png",
        "metafile.jpg",
        "enhanced-metafile.jpg",
        "script.gif",
        "fits.jpg",
        "grib.jpg",
        "hdf5.jpg",
        "huge-header.png",
        "no-size.png",
        "floats-nan.tif",
        "cut.jpg",
        "zeros.jpg",
        "no-tags.tif",
        "tags-beyond.tif",
        "a-billion-samples.tif",
        "cursor.ico",
        "jp2.jp2",
        "avif.avif",
        "webp.webp",
        "ppm.ppm",
        "empty.jpg",
        "xbm.jpg",
        "spider.tif",
    ]
)


def _names(place: Place, photos: Path) -> list[Verdict]:
    """One good photograph under names that a terminal, a spreadsheet or a page would obey."""
    verdicts = []
    photo = sorted(photos.glob("*.jpg"))[0]
    for number, (what, name) in enumerate(NAMES.items()):
        folder = place.folder / f"names-{number}"
        folder.mkdir()
        shutil.copy(photo, folder / name)
        faults = []
        for format in ("table", "csv", "json", "jsonl"):
            done = place.run(
                "classify", folder, "--labels", f"cat,{what},=1+1", "--format", format, "--device", "cpu", seconds=200
            )
            if done.code != 0:
                faults.append(f"{format}: exit code {done.code}: {done.err[-200:]}")
            shown = done.out + done.err if format == "table" else done.err
            if any(not c.isprintable() and c != "\n" for c in shown):
                faults.append(f"garbled: {format}")
            if format == "csv" and any(
                cell.lstrip('"').startswith(("=", "@", "+"))
                for line in done.out.splitlines()
                for cell in line.split(",")
            ):
                faults.append("a live formula in CSV")
            if format == "json" and len(done.json() or ()) != 1:
                faults.append("silent: not one row of JSON")
        verdicts.append(Verdict("names of files", what, "right", "", faults))
    return verdicts


def _tables(place: Place, photos: Path) -> list[Verdict]:
    """Tables, tars and folders that a probe is asked to train on."""
    photo = sorted(photos.glob("*.jpg"))[0].read_bytes()
    folder = place.folder / "tables"
    folder.mkdir()
    for n in range(8):
        (folder / f"p{n}.jpg").write_bytes(photo)
    secret = place.secret

    def table(*rows: str, head: str = "path,label") -> bytes:
        good = [f"p{n}.jpg,{'ab'[n % 2]}" for n in range(8)]
        return "\n".join([head, *good, *rows]).encode("utf-8", "surrogateescape") + b"\n"

    def tar(*members: tuple[str, Any]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as made:
            for n in range(8):
                about = tarfile.TarInfo(f"{'ab'[n % 2]}/p{n}.jpg")
                about.size = len(photo)
                made.addfile(about, io.BytesIO(photo))
            for name, how in members:
                about = tarfile.TarInfo(name)
                for key, value in how.items():
                    setattr(about, key, value)
                made.addfile(about, io.BytesIO(b"\0" * about.size) if about.size else None)
        return out.getvalue()

    whole = tar()
    negative = bytearray(whole)
    negative[124:136] = b"\xff" * 12
    cases: dict[str, tuple[str, bytes]] = {
        "a device as a path": ("device.csv", table("/dev/zero,a")),
        "memory as a path": ("memory.csv", table("/proc/self/mem,a")),
        "a secret as a path": ("secret.csv", table(f"{secret},a")),
        "a folder as a path": ("folder.csv", table("/etc,a")),
        "an address as a path": ("address.csv", table("http://127.0.0.1:9/x.jpg,a")),
        "a file: address": ("file.csv", table("file:///etc/passwd,a")),
        "a path with a zero": ("zero.csv", table("p0\0.jpg,a")),
        "a field of 20 MB": ("field.csv", table(f"{'x' * 20_000_000},a")),
        "100,000 columns": (
            "columns.csv",
            ",".join(f"c{n}" for n in range(100_000)).encode() + b"\n" + b",".join([b"1"] * 100_000) + b"\n",
        ),
        "an open quote": ("quote.csv", table('"p0.jpg,a')),
        "columns twice": ("twice.csv", table(head="path,label,label")),
        "in UTF-16": ("utf16.csv", table().decode().encode("utf-16")),
        "rows that are too short": ("short.csv", table("p0.jpg")),
        "rows that are too long": ("long.csv", table("p0.jpg,a,b,c")),
        "JSON nested 100,000 deep": ("deep.jsonl", b"[" * 100_000 + b"]" * 100_000 + b"\n"),
        "JSON with NaN": ("nan.jsonl", b'{"path": "p0.jpg", "label": NaN}\n{"path": "p1.jpg", "label": "a"}\n'),
        "JSON of numbers with a million digits": (
            "digits.jsonl",
            b'{"path": "p0.jpg", "label": ' + b"9" * 1_000_000 + b"}\n",
        ),
        "JSON keys twice": ("keys.jsonl", b'{"path": "p0.jpg", "label": "a", "label": "b"}\n' * 4),
        "Parquet that is none": ("none.parquet", b"PAR1" + b"\0" * 100 + b"PAR1"),
        "a tar with a negative size": ("negative.tar", bytes(negative)),
        "a tar that is cut": ("cut.tar", whole[: len(whole) // 2]),
        "a tar that is cut between members": ("between.tar", whole[: 512 + -(-len(photo) // 512) * 512]),
        "a tar with its end gone": ("end.tar", whole.rstrip(b"\0") + b"\0" * 512),
        "a tar with a flipped header": ("flipped.tar", whole[:100] + bytes([whole[100] ^ 4]) + whole[101:]),
        "a tar that leads out": ("out.tar", tar(("../../evil.jpg", {"size": 4}), ("/etc/x.jpg", {"size": 4}))),
        "a tar with links": (
            "links.tar",
            tar(
                ("a/l.jpg", {"type": tarfile.SYMTYPE, "linkname": str(secret)}),
                ("a/h.jpg", {"type": tarfile.LNKTYPE, "linkname": str(secret)}),
            ),
        ),
        "a tar with devices": (
            "devices.tar",
            tar(
                ("a/d.jpg", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}),
                ("a/f.jpg", {"type": tarfile.FIFOTYPE}),
            ),
        ),
        "a tar with a name of a megabyte": ("name.tar", tar(("a/" + "n" * 1_000_000 + ".jpg", {"size": 4}))),
        "a compressed tar that is cut": ("cut.tar.gz", zlib.compressobj(9, zlib.DEFLATED, 31).compress(whole)[:2000]),
        "a tar that is an image": ("image.tar", photo),
    }
    words = ["probe", "--model", "embedded/sprig", "--head", "prototype", "--format", "json", "--device", "cpu"]
    (folder / "good.csv").write_bytes(table())
    assert place.run(*words, folder / "good.csv", seconds=200).code == 0
    verdicts = []
    for name, (file, content) in cases.items():
        (folder / file).write_bytes(content)
        done = place.run(*words, folder / file, seconds=60)
        # What can be left out is left out with a word; nothing is trained on it in silence.
        told = bool(done.err.strip()) or "note" in done.out
        verdict = judge("tables and tars", name, done, right=told or name in LIKE_GOOD, culprit="", trap=place.trap)
        verdicts.append(verdict)
        (folder / file).unlink()
    return verdicts


LIKE_GOOD = frozenset(["in UTF-16"])


def _words(place: Place, photos: Path) -> list[Verdict]:
    """Labels, templates, texts and names on the command line."""
    photo = str(sorted(photos.glob("*.jpg"))[0])
    classify = ["classify", photo, "--device", "cpu", "--format", "json"]
    text = ["classify", "--text", "--format", "json", "--model", "embedded/sprig", "--labels", "cat,dog"]
    listed = place.folder / "labels.txt"
    listed.write_bytes(b"cat\n\xff\xfe\ndog\n")
    huge = place.folder / "huge.txt"
    huge.write_bytes(b"x" * 30_000_000)
    cases = {
        "a label with an escape": [*classify, "--labels", "cat,\x1b[2Jcup"],
        "a label that is a template": [*classify, "--labels", "{0.__class__},cup"],
        "labels of a device": [*classify, "--labels", "@/dev/zero"],
        "labels that are not UTF-8": [*classify, "--labels", f"@{listed}"],
        "labels that are not there": [*classify, "--labels", "@/nowhere\x1b[2J"],
        "a template that reads attributes": [*classify, "--labels", "cat,cup", "--template", "{0.__class__.__mro__}"],
        "a model that is an option": [*classify, "--labels", "cat,cup", "--model", "--evil"],
        "a model with an escape": [*classify, "--labels", "cat,cup", "--model", "\x1b[2Jevil"],
        "a model of 100,000 letters": [*classify, "--labels", "cat,cup", "--model", "m" * 100_000],
        "a model that is a device": [*classify, "--labels", "cat,cup", "--model", "/dev/zero"],
        "a model that is a process": [*classify, "--labels", "cat,cup", "--model", "/proc/self"],
        "a repository above": [*classify, "--labels", "cat,cup", "--model", "hub:../../etc"],
        "a revision that is a path": [*classify, "--labels", "cat,cup", "--model", "hub:a/b@../../x"],
        "a text that is a device": [*text, "/dev/zero"],
        "a text of 30 megabytes": [*text, str(huge)],
        "output onto a folder": [*classify, "--labels", "cat,cup", "--output", str(place.folder)],
        "output into a process": [*classify, "--labels", "cat,cup", "--output", "/proc/self/evil.json"],
    }
    verdicts = []
    for name, words in cases.items():
        done = place.run(*words, seconds=60)
        verdicts.append(
            judge("words on the command line", name, done, right=_is_answer(done), culprit="", trap=place.trap)
        )
    return verdicts


def _is_answer(done: Done) -> bool:
    try:
        return all(row["label"] for row in json.loads(done.out))
    except (ValueError, TypeError, KeyError):
        return False
