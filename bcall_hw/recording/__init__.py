"""What was played and what came back: the spikes of a run, and sessions of many runs in one file."""

from bcall_hw.recording.spikes import SPIKE_DTYPE, SpikeRecording

__all__ = ["SPIKE_DTYPE", "SpikeRecording"]
