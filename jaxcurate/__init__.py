"""jaxcurate: decide what text to train a language model on."""
