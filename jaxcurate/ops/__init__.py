"""Pure JAX and NumPy maths; no I/O."""
