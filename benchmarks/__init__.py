"""Measurements: every figure and picture in README comes out of a command here.

    minigen bench                         kernels and models on this machine, beside PyTorch:
                                          results/CPU.json, plots beside it, README's tables
    python -m benchmarks models RUN...    what finished runs reached: results/*.json, their sample
                                          grids beside them, and README's table
"""
