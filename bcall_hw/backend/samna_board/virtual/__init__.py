"""The virtual board: the emulator behind libcaer's device calls, so that the real samna opens a board with no hardware."""
