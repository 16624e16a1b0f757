"""The weighted train step, its state, loop and checkpoints."""
