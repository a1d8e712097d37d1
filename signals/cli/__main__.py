"""`python -m signals.cli` is the command `greensplit`."""

from signals.cli import main

main()
