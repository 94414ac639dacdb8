"""Measurements: every figure and picture in README comes out of a command here.

    minigen bench                         kernels and models on this machine, beside PyTorch:
                                          results/CPU.json, plots beside it, README's tables
    python -m benchmarks models RUN...    what finished runs reached: results/*.json, their sample
                                          grids beside them, and README's table
    python -m benchmarks gpu              tests, kernels and training steps on a GPU:
                                          results/GPU.json, and README's table; --rehearse
                                          without one, by the emulator, which times nothing
"""
