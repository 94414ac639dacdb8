"""Measurements: every figure and picture in README comes out of a command here.

    python -m benchmarks models RUN...    what finished runs reached: results/*.json, their sample
                                          grids beside them, and README's table
"""
