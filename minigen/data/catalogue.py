"""The official data sets: which files, their checksums, where they can be had, how to cite them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """One file of a set; `digest` is the hexadecimal checksum that decides what is trusted."""

    name: str
    digest: str
    algorithm: str = "sha256"


@dataclass(frozen=True)
class RemoteSet:
    """An official set: every file is looked for at each mirror in turn, as mirror + file name."""

    name: str
    what: str
    megabytes: int
    licence: str
    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    class_names: tuple[str, ...] | None = None


def key_of(name: str) -> str:
    """A set's name as the tables have it: Fashion_MNIST is fashion-mnist."""
    return name.lower().replace("_", "-")


IDX_FILES = {  # split → images, labels
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
AMAT_FILES = {split: f"binarized_mnist_{split}.amat" for split in ("train", "valid", "test")}
CIFAR_FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
CIFAR_ARCHIVE = "cifar-10-binary.tar.gz"


def _idx_files(digests: tuple[str, str, str, str], algorithm: str = "sha256"):
    names = [f"{name}.gz" for pair in IDX_FILES.values() for name in pair]
    return tuple(
        RemoteFile(name, digest, algorithm) for name, digest in zip(names, digests, strict=True)
    )


MNIST = RemoteSet(
    name="mnist",
    what="handwritten digits, 60,000 + 10,000 × 28×28 grey",
    megabytes=12,
    licence="none stated; cite LeCun, Bottou, Bengio and Haffner 1998",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=_idx_files(
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        )
    ),
    class_names=tuple("0123456789"),
)
FASHION_MNIST = RemoteSet(
    name="fashion-mnist",
    what="articles of clothing, 60,000 + 10,000 × 28×28 grey",
    megabytes=31,
    licence="MIT, © 2017 Zalando SE; cite Xiao, Rasul and Vollgraf 2017",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    files=_idx_files(
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        )
    ),
    class_names=(
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),  # fmt: skip
)
KMNIST = RemoteSet(
    name="kmnist",
    what="cursive Japanese characters, 60,000 + 10,000 × 28×28 grey",
    megabytes=21,
    licence="CC BY-SA 4.0; cite Clanuwat et al. 2018 (KMNIST, CODH)",
    mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    files=_idx_files(
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
        "md5",
    ),
    class_names=tuple("o ki su tsu na ha ma ya re wo".split()),
)
CIFAR10 = RemoteSet(
    name="cifar10",
    what="photographs of ten things, 50,000 + 10,000 × 32×32 colour",
    megabytes=170,
    licence="none stated; cite Krizhevsky 2009",
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    files=(RemoteFile(CIFAR_ARCHIVE, "c32a1d4ab5d03f1284b67883e8d87530", "md5"),),
)
BINARIZED_MNIST = RemoteSet(
    name="binarized-mnist",
    what="MNIST in black and white, 50,000 + 10,000 + 10,000 × 28×28, no labels",
    megabytes=110,
    licence="none stated; cite Larochelle and Murray 2011",
    mirrors=("http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/",),
    files=(
        RemoteFile(
            AMAT_FILES["train"], "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
        ),
        RemoteFile(
            AMAT_FILES["valid"], "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
        ),
        RemoteFile(
            AMAT_FILES["test"], "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
        ),
    ),
)
REMOTE = {s.name: s for s in (MNIST, FASHION_MNIST, KMNIST, CIFAR10, BINARIZED_MNIST)}
DRAWN = {
    "glyphs": "drawn digits or letters, 20,000 + 4,000 × 28×28 grey",
    "shapes": "drawn scenes with captions and masks, 10,000 + 2,000 × 32×32 colour",
}
