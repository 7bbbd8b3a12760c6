"""Comparing two systems from their spikes: metrics, a verdict with repeats and controls, a report."""
