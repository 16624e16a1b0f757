"""The only place that knows SeqIO, TFDS, files and vocabularies."""
