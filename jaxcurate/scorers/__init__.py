"""Text to one float per document; one file per method."""
