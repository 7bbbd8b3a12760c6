"""The only place that names samna. In this version it can tell which samna is installed; driving a board comes later."""
