"""Parquet tables, manifests and atomic commits."""
