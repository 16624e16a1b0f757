"""The command line: the only place that imports gin and absl flags."""
