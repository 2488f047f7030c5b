"""What files contain: fingerprints that find changed samples and doubles."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from sigprop_snn.data.parallel import in_parallel
from sigprop_snn.errors import SigpropError

_READ_WHOLE = 2**20  # bytes; of a larger file, blocks are read
_BLOCKS = 16
_BLOCK = 2**16


def file_digests(files: Sequence[Path]) -> list[bytes]:
    """Return a hash of the content of each file.

    A file of up to 1 MiB counts as a whole. Of a larger one, the size and 16 blocks of 64 KiB,
    spread from its start to its end, count.

    Raises:
        SigpropError: if a file can't be read.
    """
    return list(in_parallel(_file_digest, files, "comparing files"))


def tensor_digest(values: Tensor) -> bytes:
    """Return a hash of the type, the shape and the values of a tensor."""
    plain = values.detach().cpu().contiguous()
    found = hashlib.blake2b(f"{plain.dtype} {tuple(plain.shape)}".encode(), digest_size=32)
    if plain.numel():
        found.update(plain.flatten().view(torch.uint8).numpy().data)
    return found.digest()


def combined(digests: Sequence[bytes]) -> str:
    """Return one hash of several, 64 hexadecimal digits. The order counts."""
    return hashlib.blake2b(b"".join(digests), digest_size=32).hexdigest()


def warn_of_doubles(name: str, splits: dict[str, Sequence[Path]]) -> None:
    """Warn of files with the same content, once within the splits and once between two of them.

    Copies of a test sample in the training split make the test accuracy too high; copies in one
    split give a sample more weight. All samples stay.

    Args:
        name: the data set's name.
        splits: the files of each split, one for each sample.
    """
    places: dict[bytes, list[tuple[str, Path]]] = defaultdict(list)
    for split, files in splits.items():
        for file, digest in zip(files, file_digests(files), strict=True):
            places[digest].append((split, file))
    within: list[tuple[Path, Path]] = []
    between: list[tuple[Path, Path]] = []
    for copies in places.values():
        first: dict[str, Path] = {}
        for split, file in copies:
            others = [other for place, other in first.items() if place != split]
            if others:
                between.append((file, others[0]))
            elif split in first:
                within.append((file, first[split]))
            first.setdefault(split, file)
    for pairs, where in ((within, "the same split"), (between, "another split")):
        if pairs:
            file, other = pairs[0]
            warnings.warn(
                f"{name!r} contains copies of files in {where}: {len(pairs)}, such as {file}, a "
                f"copy of {other}; expected each sample once",
                stacklevel=2,
            )


def _file_digest(file: Path) -> bytes:
    try:
        status = file.stat()
        return _digest(file, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise SigpropError(
            f"the file {file} can't be read ({error.strerror or error}); expected a sample"
        ) from error


@functools.lru_cache(maxsize=2**17)
def _digest(file: Path, size: int, changed: int) -> bytes:
    """Hash a file; the time of its last change is part of the key of the cache."""
    found = hashlib.blake2b(str(size).encode(), digest_size=32)
    with file.open("rb") as stream:
        if size <= _READ_WHOLE:
            found.update(stream.read())
        else:
            for number in range(_BLOCKS):
                stream.seek(number * (size - _BLOCK) // (_BLOCKS - 1))
                found.update(stream.read(_BLOCK))
    return found.digest()
