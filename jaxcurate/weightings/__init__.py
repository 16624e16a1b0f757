"""Per-example weights inside the train step; one file per method."""
