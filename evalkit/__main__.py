"""The console script, and `python -m evalkit`, which torchrun needs."""

from evalkit.cli.signals import stoppable


def main() -> None:
    """Run the command line."""
    stoppable(_command_line)


def _command_line() -> None:
    from evalkit.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
