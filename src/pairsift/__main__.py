"""`python -m pairsift`, the same as the `pairsift` command."""

from pairsift.cli import command

if __name__ == "__main__":
    command()
