"""The BCaLL rule without hardware: bounded calcium traces and bistable binary synapses (arXiv 2504.06796)."""
