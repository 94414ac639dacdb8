"""CUDA kernels without a GPU: run .cu sources on NumPy arrays, and find what is wrong in them.

    module = emulator.load("saxpy.cu", check=True, seed=3)
    module.saxpy[grid, block](2.0, x, y, len(x))                # arrays are changed in place
    module.tiled[(4, 4), (16, 16), shared_bytes](a, b, c, n)

The sources are those that a GPU runs, unmodified; g++ 12 or newer compiles them. A kernel is an
`extern "C" __global__` function. Arguments are NumPy arrays and None for pointers, ints (32 bits),
floats (float32), NumPy scalars of their own type, structured ones for structs, a tuple of
arrays for a struct of pointers, and a TensorMap for the parameter that copies boxes (TMA).

Of sm_90a: mbarriers, cp.async.bulk.tensor of matrices, and wgmma of bfloat16.
Not emulated: timing, weak memory, limits of registers, clusters, cooperative launches.
"""

from .build import CompilerMissing
from .errors import KernelError
from .module import Kernel, Module, Site, load
from .tensor_map import TensorMap

__all__ = ["CompilerMissing", "Kernel", "KernelError", "Module", "Site", "TensorMap", "load"]
