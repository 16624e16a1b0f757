"""Plots and one self-contained page."""
