"""Benchmarks: contenders side by side in one run, interleaved, medians of ratios. Not tests."""
