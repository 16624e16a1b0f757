"""jaxcurate: decide what text to train a language model on."""

__version__ = '0.1.0'
