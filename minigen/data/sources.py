"""From a name or a path to an ImageSet: where the files lie, and what to say when they do not."""

from __future__ import annotations

import hashlib
import inspect
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from minigen.data.catalogue import (
    AMAT_FILES,
    CIFAR_FILES,
    IDX_FILES,
    REMOTE,
    key_of,
)
from minigen.data.folder import read_folder
from minigen.data.glyphs import glyphs
from minigen.data.imageset import ImageSet
from minigen.data.readers import read_amat, read_cifar10, read_idx_pair, read_npz
from minigen.data.shapes import shapes
from minigen.errors import DataError, UsageError, did_you_mean

ENVIRONMENT = "MINIGEN_DATA"
CIFAR_SUBSET = {  # the first images of each split, in the same layout
    "train": ("cifar10_train_first4000.bin",),
    "test": ("cifar10_test_first1000.bin",),
}
BATCHES_BIN = "cifar-10-batches-bin"  # as the official archive calls it
FOLDERS = {"cifar10": (f"cifar10/{BATCHES_BIN}", BATCHES_BIN, "cifar10_subset")}
HOLD_OUT = 10  # of the user's own pictures every tenth is for the test split
DRAWERS: dict[str, Callable[..., ImageSet]] = {"glyphs": glyphs, "shapes": shapes}


def data_root(root: str | Path | None = None) -> Path:
    """Where data sets lie: `root`, else the folder in MINIGEN_DATA, else the user's cache."""
    chosen = root or os.environ.get(ENVIRONMENT)
    return Path(chosen).expanduser() if chosen else cache_root() / "data"


def cache_root() -> Path:
    """The user's cache folder for minigen: what is in it can be fetched or computed again."""
    import platformdirs

    return platformdirs.user_cache_path("minigen", appauthor=False)


def load(
    name_or_folder: str | Path, split: str = "train", *, root: str | Path | None = None, **options
) -> ImageSet:
    """The named set, or the user's own pictures, as an ImageSet.

    name_or_folder   mnist, fashion-mnist, kmnist, cifar10, binarized-mnist, glyphs, shapes; or a
                     folder of pictures or of IDX files, or an .npz
    split            "train" or "test" (binarized-mnist has "valid" too); of own pictures and .npz
                     every tenth image is "test", the others are "train"
    root             where official files are looked for; see data_root
    options          what the drawing functions and read_folder take: n, seed, characters;
                     image_size, colour, skip_broken

    DataError: files missing or damaged. UsageError: a name, split or option that does not exist.
    """
    found = _load(str(name_or_folder), split, root, options)
    if 0 in found.images.shape:
        raise DataError(
            f"{found.name} holds no pictures (images {found.images.shape} from {found.source}): "
            "choose another set, or get its files again."
        )
    again = {name: value for name, value in options.items() if name != "n"}
    return replace(found, origin=partial(load, name_or_folder, root=root, **again))


def is_known(name: str) -> bool:
    """Whether it is the name of an official or a drawn set, which goes before a folder's."""
    return key_of(name) in {**DRAWERS, **REMOTE}


def _load(name: str, split: str, root: str | Path | None, options: dict) -> ImageSet:
    key = key_of(name)
    if key in DRAWERS:
        return DRAWERS[key](split, **_checked(DRAWERS[key], key, options))
    if key in REMOTE:
        _checked(_official, key, options)
        return _official(key, split, root)
    path = Path(name).expanduser()
    if path.is_dir():
        return _own_folder(path, split, options)
    if path.suffix == ".npz" and path.is_file():
        _checked(read_npz, name, options)
        return hold_out(read_npz(path), split)
    known = [*REMOTE, *DRAWERS]
    raise UsageError(
        f'there is no data set and no folder "{name}".{did_you_mean(name, known)} '
        f"Known sets: {', '.join(known)}; or give a folder of pictures."
    )


def hold_out(data: ImageSet, split: str) -> ImageSet:
    """A fixed division of a set that has none: every tenth image is "test", the others "train"."""
    _check_split(data.name, split, ("train", "test"))
    index = np.arange(len(data))
    test = index % HOLD_OUT == HOLD_OUT - 1
    if split == "test" and not test.any():
        raise DataError(
            f"{data.source} has {len(data)} pictures, too few for a test split: one in {HOLD_OUT} "
            "is held out, so give at least that many."
        )
    return replace(data.take(index[test if split == "test" else ~test]), split=split)


def find_file(folders: Sequence[Path], name: str) -> Path | None:
    """The first of folder/name and folder/name.gz that exists."""
    for folder in folders:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def set_folders(name: str, root: str | Path | None = None) -> list[Path]:
    """Where the files of a set may lie, best first: ROOT/name, ROOT/na_me, …, ROOT itself."""
    base = data_root(root)
    names = (name, name.replace("-", "_"), *FOLDERS.get(name, ()))
    return [*(base / folder for folder in dict.fromkeys(names)), base]


def find_split(name: str, split: str, root: str | Path | None = None) -> list[Path]:
    """The files of one split of an official set; DataError says what is missing, how to get it."""
    folders = set_folders(name, root)
    if name == "cifar10":
        choices = [CIFAR_FILES, CIFAR_SUBSET]
    elif name == "binarized-mnist":
        choices = [{key: (file,) for key, file in AMAT_FILES.items()}]
    else:
        choices = [IDX_FILES]
    _check_split(name, split, tuple(choices[0]))
    for files in choices:
        found = [find_file(folders, file) for file in files[split]]
        if all(found):
            return [path for path in found if path]
    missing = next(file for file in choices[0][split] if not find_file(folders, file))
    raise DataError(
        f"{name}: {missing}(.gz) is neither in {folders[0]} nor in {folders[-1]}; get it with: "
        f"minigen data fetch {name}   (or set {ENVIRONMENT} to the folder that has it)"
    )


def _official(name: str, split: str, root: str | Path | None) -> ImageSet:
    paths = find_split(name, split, root)
    remedy = f"delete it and get it again with: minigen data fetch {name}"
    for path in paths:
        _check_identity(name, path, remedy)
    if name == "cifar10":
        subset = paths[0].name.startswith(CIFAR_SUBSET[split])
        shown = "cifar10-subset" if subset else name
        return read_cifar10(paths, name=shown, split=split, remedy=remedy)
    if name == "binarized-mnist":
        return read_amat(paths[0], split=split, remedy=remedy)
    classes = REMOTE[name].class_names
    return read_idx_pair(*paths, name=name, split=split, class_names=classes, remedy=remedy)


def _check_identity(name: str, path: Path, remedy: str) -> None:
    """DataError when the file is, byte for byte, another official one: MNIST and its kin share
    their file names. What no checksum knows (an unzipped file, a subset) is taken as it is."""
    digests = {}
    for other in REMOTE.values():
        for file in other.files:
            if file.algorithm not in digests:
                digests[file.algorithm] = digest_of(path, file.algorithm)
            same_name = file.name.removesuffix(".gz") == path.name.removesuffix(".gz")
            if digests[file.algorithm] == file.digest and not (other.name == name and same_name):
                instead = "" if other.name == name else f" and not of {name}"
                raise DataError(
                    f"{path} is really {file.name} of {other.name}{instead}; {remedy}."
                )


def digest_of(path: Path, algorithm: str) -> str:
    """The file's checksum in hexadecimal."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(
                file, lambda: hashlib.new(algorithm, usedforsecurity=False)
            ).hexdigest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error


def _own_folder(folder: Path, split: str, options: dict) -> ImageSet:
    """A folder of IDX files under their official names, or of pictures."""
    images_name, labels_name = IDX_FILES.get(split, IDX_FILES["train"])
    images = find_file([folder], images_name)
    if images:
        _check_split(folder.name, split, tuple(IDX_FILES))
        _checked(_official, str(folder), options)
        labels = find_file([folder], labels_name)
        if labels is None:
            raise DataError(
                f"{folder} has {images.name} but no {labels_name}(.gz) beside it; add it."
            )
        return read_idx_pair(images, labels, name=folder.resolve().name, split=split)
    data = read_folder(folder, **_checked(read_folder, str(folder), options))
    return hold_out(data, split)


def _check_split(name: str, split: str, splits: tuple[str, ...]) -> None:
    if split not in splits:
        hint = did_you_mean(split, list(splits))
        raise UsageError(f'{name} has the splits {", ".join(splits)}, not "{split}".{hint}')


def _checked(function: Callable, name: str, options: dict) -> dict:
    """The options, when the function takes all of them as keywords; else UsageError."""
    known = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in ("split", "name")
    ]
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(known)}" if known else "it takes none"
            raise UsageError(
                f'{name} has no option "{option}" ({takes}).{did_you_mean(option, known)}'
            )
    return options
