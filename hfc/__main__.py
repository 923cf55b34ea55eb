"""`python -m hfc` is `hfc`."""

from hfc.cli import main

main()
