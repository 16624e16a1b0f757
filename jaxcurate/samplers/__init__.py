"""A table and a budget to a Selection; one file per method."""
