"""The only place that drives samna: in a process of its own (`worker`), on a real board or on a virtual one (`virtual`)."""
