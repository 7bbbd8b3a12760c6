"""`python -m bcall_hw.cli` is `bcall-hw`."""

from bcall_hw.cli import main

main()
