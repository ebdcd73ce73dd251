"""``shelf:team/model``: versions are folders, and each has a list of its files' digests as ``sha256sum`` writes them."""

import os
import shutil
from pathlib import Path

from modelgraft.contract import Stored
from modelgraft.errors import WeightsUnavailableError
from modelgraft.paths import cache_dir
from modelgraft.resolution import File, Part


class Shelf:
    """Has the members of `modelgraft.contract.Source`. modelgraft checks every file against what is stated here."""

    def resolve_weights(self, weights, revision):
        """The files of a version, the newest if none is asked for."""
        versions = sorted(path.name for path in self._shelf(weights.place).glob("v*"))
        if not versions or (revision and revision not in versions):
            raise WeightsUnavailableError(
                f"the shelf has no {revision or 'version'} of {weights.place}; see SHELF_ROOT"
            )
        version = revision or versions[-1]
        folder = self._shelf(weights.place) / version
        lines = (folder / "SHA256SUMS").read_text().splitlines()
        files = [(name, digest) for digest, name in (line.split(maxsplit=1) for line in lines)]
        return Part(
            weights.place,
            version,
            tuple(File(name, (folder / name).stat().st_size, digest) for name, digest in files),
        )

    def fetch_weights(self, part, progress):
        """Copy what is not there yet, each file whole before it has its name."""
        folder = self._copies(part)
        folder.mkdir(parents=True, exist_ok=True)
        for file in part.files:
            if not (folder / file.path).exists():
                partial = folder / f".{file.path}.{os.getpid()}"
                shutil.copyfile(self._shelf(part.location) / part.revision / file.path, partial)
                os.replace(partial, folder / file.path)
                progress(file.size)
        return Stored(folder, folder)

    def set_aside(self, part, path):
        """A bad copy is worth nothing: the original is on the server."""
        (self._copies(part) / path).unlink(missing_ok=True)

    def _shelf(self, location) -> Path:
        return Path(os.environ["SHELF_ROOT"]) / location.removeprefix("shelf:")

    def _copies(self, part) -> Path:
        return cache_dir() / "shelf" / part.location.removeprefix("shelf:") / part.revision
