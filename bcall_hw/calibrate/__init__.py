"""Calibration: what of a board differs from nominal, measured from spikes alone, and a record that proves it."""
