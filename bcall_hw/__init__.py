"""bcall_hw: spiking networks with the BCaLL rule on DYNAP-SE-style chips, and an emulator of those chips."""

__version__ = "0.7.0"
