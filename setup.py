"""Packages, where they lie, and what they need. Settings of the tools are in pyproject.toml."""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
# Read, not imported: at build time the package's own dependencies are not installed.
VERSION = (HERE / "minigen" / "version.py").read_text(encoding="utf-8").split('"')[-2]

TEST = ["pytest>=8,<10", "pytest-xdist>=3.6,<4", "hypothesis>=6.100,<7"]
PEERS = ["torch==2.13.*"]
LESSONS = [
    "hypothesis>=6.100,<7", "markdown-it-py>=3,<5", "pygments>=2.17,<3", "jinja2>=3.1,<4",
    "latex2mathml>=3.77,<4", "jupytext>=1.16,<2", "nbclient>=0.10,<1", "ipykernel>=6.29,<8",
]  # fmt: skip
NVRTC = ["nvidia-cuda-nvrtc>=13,<14", "cuda-bindings>=13,<14"]

setup(
    name="minigen",
    version=VERSION,
    description="Deep generative image models from scratch, down to the last gradient and kernel",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=[
        "minigen",
        "minigen.commands",
        "minigen.data",
        "minigen.draw",
        "minigen.lesson",
        "minigen.metrics",
        "minigen.models",
        "minigen.nn",
        "minigen.ops",
        "minigen.testing",
        "minigen.testing.zoo",
        "minigen.training",
        "minigen_kernels",
        "minigen_kernels.cpu",
        "minigen_kernels.cuda",
        "minigen_kernels.cuda.numba_rungs",
        "minigen_kernels.emulator",
        "minigen_benchmarks",
        "minigen_lessons",
    ],
    package_dir={
        "minigen_kernels": "kernels/minigen_kernels",
        "minigen_benchmarks": "benchmarks",
        "minigen_lessons": "lessons",
    },
    package_data={
        "minigen": ["py.typed"],
        "minigen.lesson": ["pages/*"],
        "minigen_kernels": ["py.typed"],
        "minigen_kernels.cuda": ["*.cu", "*.cuh"],
        "minigen_kernels.emulator": ["runtime/*.hpp", "runtime/*.cpp"],
    },
    install_requires=[
        "numpy>=2.0,<2.5",
        "numba>=0.62,<0.69",
        "pillow>=10.1,<14",
        "rich>=13.7,<16",
        "tyro>=0.9.14,<2",
        "safetensors>=0.4.5,<1",
        "platformdirs>=4,<5",
    ],
    extras_require={
        "cuda12": ["cupy-cuda12x>=13.3,<15", "numba-cuda[cu12]>=0.4,<1", "cuda-bindings>=12,<13",
                   "nvidia-cuda-nvrtc-cu12>=12,<13"],
        "cuda13": ["cupy-cuda13x>=13.6,<15", "numba-cuda[cu13]>=0.18,<1", *NVRTC],
        "nvrtc": NVRTC,
        "test": TEST,
        "peers": PEERS,
        "lessons": LESSONS,
        "dev": [*TEST, *PEERS, *LESSONS, *NVRTC, "ruff>=0.6,<1", "pyright>=1.1.380,<2",
                "build>=1.2,<2"],
    },
    entry_points={"console_scripts": ["minigen = minigen.cli:main"]},
)
