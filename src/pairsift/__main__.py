"""`python -m pairsift`, the same as the `pairsift` command."""

from pairsift.cli import main

if __name__ == "__main__":
    main()
