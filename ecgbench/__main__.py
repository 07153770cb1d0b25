"""`python -m ecgbench`."""

from ecgbench.app import main

main()
