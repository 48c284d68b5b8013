"""Artefacts on disk: whole ones under their id, incomplete ones beside them, oldest use evicted first (routing §11).

Every method works on files and belongs in a thread. A crash leaves whole artefacts and parts that `begin` takes up again.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from moodmesh.mesh.errors import Corrupt, NoSpace, NotFound
from moodmesh.mesh.identity import sync_directory

from .manifest import CHUNK_SIZE, Manifest, manifest_of

RESERVE = 1 << 30
QUOTA = 10 << 30
_ID = re.compile(r"[0-9a-f]{64}")


def free_bytes(directory: Path) -> int:
    """Bytes that this user may still write there."""
    return shutil.disk_usage(directory).free


class ArtefactStore:
    """Artefacts in `root`, at most `quota` bytes in all (None: 10 GiB or a tenth of the disk); safe from any thread."""

    def __init__(self, root: Path, quota: int | None = None, disk_free: Callable[[Path], int] = free_bytes) -> None:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root, self._disk_free = root, disk_free
        self._quota = min(QUOTA, shutil.disk_usage(root).total // 10) if quota is None else quota
        self._pins: Counter[str] = Counter()
        self._lock = threading.RLock()

    def put(self, source: bytes | Path, media_type: str = "application/octet-stream") -> str:
        """Keep bytes, or a copy of a file, and return the id; `NoSpace`."""
        if isinstance(source, bytes):
            return self._keep(manifest_of(_pieces(source), media_type), lambda: _pieces(source))
        return self._keep(manifest_of(_file_pieces(source), media_type), lambda: _file_pieces(source))

    def path(self, artefact: str) -> Path:
        """The file of a whole artefact, whose use this counts as; `NotFound`."""
        path = self._file(artefact)
        try:
            os.utime(path)
        except FileNotFoundError:
            raise NotFound("no such artefact") from None
        return path

    def has(self, artefact: str) -> bool:
        """Whether the whole artefact is here."""
        return self._file(artefact).exists()

    def manifest(self, artefact: str) -> Manifest:
        """The manifest of a whole artefact; `NotFound`."""
        if not self.has(artefact):
            raise NotFound("no such artefact")
        try:
            return Manifest.model_validate_json(self._file(artefact, ".json").read_bytes())
        except (OSError, ValidationError) as error:
            raise NotFound("no such artefact") from error

    def read_chunk(self, artefact: str, index: int) -> bytes:
        """The bytes of one chunk; `NotFound`."""
        try:
            with self._file(artefact).open("rb") as file:
                file.seek(index * CHUNK_SIZE)
                return file.read(CHUNK_SIZE)
        except FileNotFoundError:
            raise NotFound("no such artefact") from None

    def begin(self, manifest: Manifest) -> Part:
        """Start receiving, or go on where an earlier attempt ended; `NoSpace` leaves nothing behind."""
        path = self._file(manifest.id, ".part")
        fresh = not path.exists()
        part = Part(self, manifest, path)
        try:
            self._make_room(sum(manifest.length(index) for index in part.missing), keep=manifest.id)
        except NoSpace:
            if fresh:
                path.unlink(missing_ok=True)
            raise
        return part

    def pin(self, artefact: str) -> None:
        """Keep from eviction until as many `unpin`; pins live as long as the process."""
        with self._lock:
            self._pins[artefact] += 1

    def unpin(self, artefact: str) -> None:
        """Take one pin back."""
        with self._lock:
            self._pins[artefact] -= 1
            if self._pins[artefact] <= 0:
                del self._pins[artefact]

    def delete(self, artefact: str) -> None:
        """Remove an artefact and every part of it (idempotent)."""
        for suffix in ("", ".json", ".part"):
            with contextlib.suppress(FileNotFoundError):
                self._file(artefact, suffix).unlink()

    def commit(self, manifest: Manifest, part: Path) -> Path:
        """Make a complete part the artefact: manifest first, data last, each durable before the next."""
        path = self._file(manifest.id)
        with self._file(manifest.id, ".json").open("wb") as file:
            file.write(manifest.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        sync_directory(self._root)
        return path

    def _keep(self, manifest: Manifest, pieces: Callable[[], Iterator[bytes]]) -> str:
        if not self.has(manifest.id):
            part = self.begin(manifest)
            for index, piece in enumerate(pieces()):
                if index in part.missing:
                    part.write(index, piece)
            part.finish()
        return manifest.id

    def _make_room(self, need: int, keep: str) -> None:
        with self._lock:
            evictable = [entry for entry in self._by_age() if entry[0] != keep]
            used = sum(file.stat().st_blocks * 512 for file in self._root.iterdir())
            while evictable and used + need > self._quota:
                artefact, size, _ = evictable.pop(0)
                self.delete(artefact)
                used -= size
            free = self._disk_free(self._root) - RESERVE
            if need and (used + need > self._quota or need > free):
                raise NoSpace(need, max(0, min(free, self._quota - used)))

    def _by_age(self) -> list[tuple[str, int, float]]:
        """(id, bytes on disk, last use) of what is not pinned, oldest use first; whole artefacts and parts alike."""
        found = [
            (path.stem, path.stat())
            for path in self._root.iterdir()
            if path.suffix != ".json" and path.stem not in self._pins and _ID.fullmatch(path.stem)
        ]
        entries = [(artefact, stat.st_blocks * 512, stat.st_mtime) for artefact, stat in found]
        return sorted(entries, key=lambda entry: entry[2])

    def _file(self, artefact: str, suffix: str = "") -> Path:
        if not _ID.fullmatch(artefact):
            raise NotFound("no such artefact")
        return self._root / (artefact + suffix)


class Part:
    """An artefact on its way in. `missing`: the chunks that are not here yet, found by hashing what is."""

    def __init__(self, store: ArtefactStore, manifest: Manifest, path: Path) -> None:
        self._store, self._manifest, self._path = store, manifest, path
        path.touch(0o600)
        self.missing = {index for index in range(len(manifest.chunks)) if not manifest.fits(index, self._read(index))}

    def write(self, index: int, data: bytes) -> None:
        """Write one chunk after checking it; `Corrupt` when it is another's bytes, and then nothing is written.

        `NotFound`, as from `finish`, when the artefact was deleted meanwhile.
        """
        if index not in self.missing or not self._manifest.fits(index, data):
            raise Corrupt(f"chunk {index} is not what was asked for")
        with self._open() as file:
            file.seek(index * CHUNK_SIZE)
            file.write(data)
        self.missing.discard(index)

    def finish(self) -> Path:
        """Make a complete part durable and visible under its id."""
        if self.missing:
            raise Corrupt(f"{len(self.missing)} chunks are missing")
        with self._open() as file:
            file.flush()
            os.fsync(file.fileno())
        return self._store.commit(self._manifest, self._path)

    def _open(self) -> BinaryIO:
        """Never creates: a part deleted meanwhile must not come back with holes in it."""
        try:
            return open(os.open(self._path, os.O_RDWR | os.O_NOFOLLOW), "r+b")
        except FileNotFoundError:
            raise NotFound("deleted while it was being received") from None

    def _read(self, index: int) -> bytes:
        with self._path.open("rb") as file:
            file.seek(index * CHUNK_SIZE)
            return file.read(self._manifest.length(index))


def _pieces(data: bytes) -> Iterator[bytes]:
    return (data[start : start + CHUNK_SIZE] for start in range(0, len(data), CHUNK_SIZE))


def _file_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(CHUNK_SIZE), b"")
