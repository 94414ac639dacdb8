"""Readers: what was written in the official format comes back; every fault is one clear line."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minigen import data
from minigen.errors import DataError, UsageError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array):
    head = struct.pack(">BBBB", 0, 0, CODES[array.dtype.str[1:]], array.ndim)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return head + sizes + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_mnist(folder, n=20, suffix=".gz", split="train", classes=10):
    """A small set under MNIST's official file names; returns its images and labels."""
    rng = np.random.default_rng(n)
    images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
    labels = (np.arange(n) % classes).astype(np.uint8)
    stem = "train" if split == "train" else "t10k"
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(array)
        path = folder / f"{stem}-{name}-ubyte{suffix}"
        path.write_bytes(gzip.compress(content, 1) if suffix else content)
    return images, labels


def one_line(error, *parts):
    text = str(error.value)
    assert "\n" not in text and all(part in text for part in parts), text


@given(
    code=st.sampled_from(sorted(CODES)),
    shape=st.lists(st.integers(0, 4), max_size=4).map(tuple),
    zipped=st.booleans(),
)
def test_idx_round_trip(tmp_path_factory, code, shape, zipped):
    array = (np.arange(np.prod(shape, dtype=int)) % 100).reshape(shape).astype(code)
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    back = data.read_idx(path)
    np.testing.assert_array_equal(back, array)
    assert back.dtype == array.dtype and back.dtype.isnative and back.flags.writeable


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("place", ["fashion-mnist", "fashion_mnist", "."])
def test_load_finds_every_place_and_form(tmp_path, monkeypatch, place, suffix):
    images, labels = write_mnist(tmp_path / place, suffix=suffix, split="test")
    monkeypatch.setenv("MINIGEN_DATA", str(tmp_path))
    for name, root in (("fashion-mnist", None), ("Fashion_MNIST", tmp_path)):
        loaded = data.load(name, "test", root=root)
        np.testing.assert_array_equal(loaded.images[:, 0], images)
        np.testing.assert_array_equal(loaded.labels, labels)
        assert (loaded.name, loaded.split, loaded.n_classes) == ("fashion-mnist", "test", 10)
        assert loaded.class_names[9] == "ankle boot" and str(tmp_path) in loaded.source


def test_without_the_environment_the_cache_folder_is_used(tmp_path, monkeypatch):
    import platformdirs

    monkeypatch.delenv("MINIGEN_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda *_, **__: tmp_path)
    write_mnist(tmp_path / "data" / "mnist")
    assert len(data.load("mnist")) == 20


def test_missing_files_are_named_with_the_command(tmp_path):
    with pytest.raises(DataError) as error:
        data.load("mnist", root=tmp_path)
    one_line(error, "train-images-idx3-ubyte", str(tmp_path / "mnist"), "minigen data fetch mnist")
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte.*minigen data fetch"):
        data.load("mnist", root=tmp_path)


DAMAGE = {
    "not an IDX file": lambda b: b"\x89PNG" + b[4:],
    "not an IDX file ": lambda b: b"\0\0\7\3" + b[4:],
    "begins with nothing": lambda b: b"",
    "within its header": lambda b: b[:9],
    "cut short": lambda b: b[:-1],
    "bytes left over": lambda b: b + b"\0",
    "gzip ends early": lambda b: gzip.compress(b)[:-20],
    "is damaged": lambda b: gzip.compress(b)[:-8] + b"\0" * 8,
    "is damaged ": lambda b: b"\x1f\x8b" + b,
    "images (N, H, W)": lambda b: idx_bytes(np.zeros(20, "u1")),
    "images (N, H, W) ": lambda b: idx_bytes(np.zeros((2, 28, 28), "i2")),
    "19 images": lambda b: idx_bytes(np.zeros((19, 28, 28), "u1")),
}


@pytest.mark.parametrize("says", DAMAGE)
def test_damaged_images_give_one_line(tmp_path, says):
    images, _ = write_mnist(tmp_path / "mnist", suffix="")
    path = tmp_path / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(DAMAGE[says](idx_bytes(images)))
    with pytest.raises(DataError) as error:
        data.load("mnist", root=tmp_path)
    one_line(error, says.strip(), str(path), "minigen data fetch mnist")


def test_labels_out_of_range(tmp_path):
    write_mnist(tmp_path / "mnist", classes=11)
    with pytest.raises(DataError, match="labels run from 0 to 10 but there are 10 classes"):
        data.load("mnist", root=tmp_path)


def test_a_file_of_another_set_is_recognised(tmp_path, monkeypatch):
    from minigen.data import sources

    write_mnist(tmp_path)
    other = sources.REMOTE["fashion-mnist"].files[0]
    monkeypatch.setattr(sources, "digest_of", lambda path, algorithm: other.digest)
    with pytest.raises(DataError, match="is really train-images.* of fashion-mnist and not of mni"):
        data.load("mnist", root=tmp_path)


def test_another_file_of_the_same_set_is_recognised(tmp_path, monkeypatch):
    from minigen.data import sources

    write_mnist(tmp_path)
    other = next(f for f in sources.REMOTE["mnist"].files if "t10k-labels" in f.name)
    monkeypatch.setattr(sources, "digest_of", lambda path, algorithm: other.digest)
    with pytest.raises(DataError, match="is really t10k-labels[^ ]* of mnist; "):
        data.load("mnist", root=tmp_path)


def test_an_unreadable_file(tmp_path):
    with pytest.raises(DataError, match="cannot read"):
        data.read_idx(tmp_path)


@pytest.mark.parametrize("name, suggestion", [("mnits", "mnist"), ("glyhps", "glyphs")])
def test_unknown_names_get_a_suggestion(name, suggestion):
    with pytest.raises(UsageError, match=f'"{name}".*Did you mean "{suggestion}"'):
        data.load(name)
    with pytest.raises(UsageError, match=f'"{name}".*Did you mean "{suggestion}"'):
        data.fetch(name)


def test_unknown_splits_and_options_get_a_suggestion(tmp_path):
    with pytest.raises(UsageError, match='splits train, test, not "tset".*"test"'):
        data.load("mnist", "tset", root=tmp_path)
    with pytest.raises(UsageError, match='no option "charcters".*"characters"'):
        data.load("glyphs", charcters="all")
    with pytest.raises(UsageError, match="it takes none"):
        data.load("mnist", root=tmp_path, n=3)
    assert len(data.load("glyphs", "test", n=30, characters="letters")) == 30
    assert len(data.load("shapes", n=3).captions) == 3


def cifar_bytes(n, start=0, labels=None):
    rng = np.random.default_rng(n + start)
    records = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(n) % 10 if labels is None else labels
    return records.tobytes(), records


def test_cifar10_batches_are_joined_in_order(tmp_path):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    parts = []
    for i in range(1, 6):
        content, records = cifar_bytes(3, start=i)
        (folder / f"data_batch_{i}.bin").write_bytes(content)
        parts.append(records)
    loaded, joined = data.load("cifar10", root=tmp_path), np.concatenate(parts)
    assert loaded.images.shape == (15, 3, 32, 32) and loaded.class_names[6] == "frog"
    np.testing.assert_array_equal(loaded.images.reshape(15, -1), joined[:, 1:])
    np.testing.assert_array_equal(loaded.labels, joined[:, 0])
    with pytest.raises(DataError, match="test_batch.bin.*fetch cifar10"):
        data.load("cifar10", "test", root=tmp_path)


def test_cifar10_subset_has_its_own_name(tmp_path):
    folder = tmp_path / "cifar10_subset"
    folder.mkdir()
    (folder / "cifar10_test_first1000.bin.gz").write_bytes(gzip.compress(cifar_bytes(4)[0]))
    loaded = data.load("cifar10", "test", root=tmp_path)
    assert (loaded.name, len(loaded)) == ("cifar10-subset", 4)


@pytest.mark.parametrize(
    "content, says",
    [(b"", "cut short"), (cifar_bytes(2)[0][:-1], "cut short"), (cifar_bytes(2, 0, 10)[0], "10")],
)
def test_damaged_cifar10(tmp_path, content, says):
    path = tmp_path / "batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataError, match=says):
        data.read_cifar10([path])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_binarized_text(tmp_path, suffix):
    bits = np.random.default_rng(0).integers(0, 2, (5, 784))
    text = "".join(" ".join(map(str, row)) + "\n" for row in bits).encode()
    folder = tmp_path / "binarized_mnist"
    folder.mkdir()
    path = folder / f"binarized_mnist_valid.amat{suffix}"
    path.write_bytes(gzip.compress(text) if suffix else text)
    loaded = data.load("binarized-mnist", "valid", root=tmp_path)
    np.testing.assert_array_equal(loaded.images.reshape(5, 784), bits * 255)
    assert loaded.labels is None and loaded.n_classes == 0 and loaded.images.dtype == np.uint8
    for damaged in (text[:-3], b"", text.replace(b"1", b"2"), text.replace(b"\n", b" ")):
        (folder / "bad.amat").write_bytes(damaged)
        with pytest.raises(DataError, match="bad.amat"):
            data.read_amat(folder / "bad.amat")


@pytest.mark.parametrize("shape", [(12, 6, 5), (12, 1, 6, 5), (12, 6, 5, 3), (12, 6, 5, 4)])
def test_npz_layouts(tmp_path, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.arange(12, dtype=np.int32) % 3)
    whole = data.read_npz(tmp_path / "mine.npz")
    assert whole.images.shape == (12, 3 if shape[-1] in (3, 4) else 1, 6, 5)
    expected = images.reshape(12, 6, 5, -1)
    if shape[-1] == 4:
        expected = np.where(images[..., 3:] > 0, images[..., :3], 0)
    np.testing.assert_array_equal(whole.images.transpose(0, 2, 3, 1), expected)
    train, test = (data.load(tmp_path / "mine.npz", split) for split in ("train", "test"))
    assert (len(train), len(test), test.labels.tolist(), train.n_classes) == (11, 1, [0], 3)


def test_npz_faults(tmp_path):
    pixels = np.zeros((2, 4, 4), np.uint8)
    wrong = {
        "no array named images": dict(pictures=pixels),
        "must be uint8": dict(images=pixels.astype(np.float32)),
        "neither 1, 3 nor 4": dict(images=np.zeros((2, 5, 5, 5), np.uint8)),
        "labels must be integers": dict(images=pixels, labels=np.zeros(2)),
        "2 images but labels": dict(images=pixels, labels=np.zeros(3, int)),
        "labels run from -1": dict(images=pixels, labels=np.array([-1, 0])),
        "cannot be read as .npz": dict(images=np.array([{}, 1], object)),
    }
    path = tmp_path / "mine.npz"
    for says, arrays in wrong.items():
        np.savez(path, **arrays)
        with pytest.raises(DataError) as error:
            data.read_npz(path)
        one_line(error, says)
    whole = path.read_bytes()
    for content in (b"", b"no zip", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(DataError, match="mine.npz cannot be read"):
            data.read_npz(path)


def test_a_damaged_member_of_an_npz(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez_compressed(path, images=np.arange(4096, dtype=np.uint8).reshape(4, 32, 32))
    content = bytearray(path.read_bytes())
    content[200:400] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(DataError, match="mine.npz cannot be read"):
        data.read_npz(path)


def test_a_set_without_pictures_is_refused(tmp_path):
    write_mnist(tmp_path / "mnist", n=0)
    with pytest.raises(DataError, match="mnist holds no pictures"):
        data.load("mnist", root=tmp_path)


def test_every_loaded_set_knows_its_other_split(tmp_path):
    letters = data.load("glyphs", "test", n=5, characters="letters").origin("train")
    assert letters.split == "train" and letters.n_classes == 26 and len(letters) == 20_000
    for i in range(10):
        save(tmp_path / "mine" / "red" / f"{i}.png", (255, 0, 0))
    train = data.load(tmp_path / "mine", "test", image_size=5, colour="grey").origin("train")
    assert train.images.shape == (9, 1, 5, 5)
    np.savez(tmp_path / "mine.npz", images=np.zeros((10, 4, 4), np.uint8))
    assert len(data.load(tmp_path / "mine.npz", "test").origin("train")) == 9
    for split, n in (("train", 7), ("test", 3)):
        write_mnist(tmp_path / "idx", n=n, split=split)
    assert len(data.load(tmp_path / "idx", "test").origin("train")) == 7


def test_normalised_and_take():
    images = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    dataset = data.ImageSet("ramp", images, np.array([3, 1, 2, 0]))
    x = dataset.normalised()
    assert x.dtype == np.float32 and (x.min(), x.max()) == (-1, 1)
    np.testing.assert_allclose(dataset.normalised(0, 1), images / 255, atol=1e-6)
    part = dataset.take([0, 2])
    assert part.labels.tolist() == [3, 2] and len(dataset) == 4
    np.testing.assert_array_equal(part.images, images[[0, 2]])


def test_a_folder_of_idx_files(tmp_path):
    images, _ = write_mnist(tmp_path / "mine")
    np.testing.assert_array_equal(data.load(tmp_path / "mine").images[:, 0], images)
    (tmp_path / "mine" / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="no train-labels"):
        data.load(tmp_path / "mine")


def save(path, colour, size=(6, 4), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **options)


def test_own_pictures_with_labels(tmp_path):
    save(tmp_path / "red" / "b.png", (255, 0, 0))
    save(tmp_path / "red" / "deep" / "a.bmp", (255, 0, 0), (3, 9))
    save(tmp_path / "blue" / "c.webp", (0, 0, 255), lossless=True)
    save(tmp_path / "blue" / ".hidden.png", (9, 9, 9))
    (tmp_path / "blue" / "notes.txt").write_text("no picture")
    loaded = data.load(tmp_path, image_size=8)
    assert loaded.class_names == ("blue", "red") and loaded.labels.tolist() == [0, 1, 1]
    assert loaded.images.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(loaded.images[0, :, 4, 4], [0, 0, 255])
    assert (loaded.images[1:] == np.array([255, 0, 0]).reshape(1, 3, 1, 1)).all()
    grey = data.load(tmp_path, image_size=5, colour="grey")
    assert grey.images.shape == (3, 1, 5, 5) and grey.images[1, 0, 0, 0] == 76


def test_the_middle_is_kept_and_the_exif_turn_obeyed(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    half = np.zeros((10, 10), np.uint8)
    half[:5] = 255
    Image.fromarray(half).save(tmp_path / "turned.png", exif=exif)
    loaded = data.load(tmp_path, image_size=10, colour="grey")
    turned, wide = loaded.images[:, 0]
    assert loaded.labels is None and wide.min() == 255
    np.testing.assert_array_equal(turned, np.repeat([[0] * 5 + [255] * 5], 10, axis=0))


@pytest.mark.parametrize("mode, colour", [("RGBA", (9, 9, 9, 0)), ("LA", (200, 0)), ("I;16", 0)])
def test_transparent_and_deep_pictures(tmp_path, mode, colour):
    save(tmp_path / "a.png", colour, mode=mode)
    assert not data.load(tmp_path, image_size=4).images.any()


def test_sixteen_bits_become_eight(tmp_path):
    Image.fromarray(np.full((4, 4), 0x80FF, np.uint16)).save(tmp_path / "a.png")
    assert (data.load(tmp_path, image_size=4).images == 0x80).all()


def test_broken_pictures_are_named_or_skipped(tmp_path):
    save(tmp_path / "good.png", (1, 2, 3))
    whole = (tmp_path / "good.png").read_bytes()
    for name, content in (("empty.png", b""), ("text.jpg", b"hello"), ("cut.png", whole[:40])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError) as error:
            data.load(tmp_path)
        one_line(error, str(tmp_path / name), "--skip-broken")
        assert len(data.load(tmp_path, skip_broken=True)) == 1
        (tmp_path / name).unlink()
    (tmp_path / "good.png").write_bytes(whole[:40])
    with pytest.raises(DataError, match="none of the 1 pictures"):
        data.load(tmp_path, skip_broken=True)


def test_folders_without_pictures_and_wrong_options(tmp_path):
    with pytest.raises(DataError, match="there is no picture in"):
        data.load(tmp_path)
    with pytest.raises(DataError, match="there is no folder"):
        data.read_folder(tmp_path / "none")
    save(tmp_path / "a.png", 0)
    with pytest.raises(UsageError, match='not "green"'):
        data.load(tmp_path, colour="green")
    with pytest.raises(UsageError, match='no option "size"'):
        data.load(tmp_path, size=3)
    with pytest.raises(DataError, match="has 1 pictures, too few for a test split"):
        data.load(tmp_path, "test")


@pytest.mark.realdata
def test_the_official_files():
    root = Path(os.environ.get("MINIGEN_DATA", "(MINIGEN_DATA is not set)"))
    for name in ("mnist/t10k-images-idx3-ubyte.gz", "cifar10_subset/cifar10_test_first1000.bin.gz"):
        if not (root / name).is_file():
            pytest.skip(f"{name} is not in {root}")
    mnist = data.load("mnist", "test", root=root)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(mnist.labels).tolist() == counts
    cifar = data.load("cifar10", "test", root=root)
    assert cifar.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert cifar.images[0, :, 0, 0].tolist() == [158, 112, 49]
