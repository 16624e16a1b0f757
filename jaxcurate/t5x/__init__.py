"""Weightings inside real T5X; its modules need T5X to be installed."""
