"""`python -m jaxcurate`, the same as the `jaxcurate` script."""

from jaxcurate.cli import main

if __name__ == '__main__':
  main.console()
