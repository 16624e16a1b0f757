"""Held-out loss, agreement between scorers, cost accounting."""
