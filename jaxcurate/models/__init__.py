"""The only place that knows a network."""
