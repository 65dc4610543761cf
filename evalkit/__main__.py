"""The console script, and `python -m evalkit`, which torchrun needs:
`torchrun --nproc-per-node 2 -m evalkit train …`.
"""

from evalkit.cli.signals import stoppable


def main() -> None:
    """The console script. It imports the command line when a signal ends it with one line."""
    with stoppable():
        from evalkit.cli.app import main

        main()


if __name__ == "__main__":
    main()
