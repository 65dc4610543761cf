"""`python -m evalkit`, which torchrun needs: `torchrun --nproc-per-node 2 -m evalkit train …`."""

from evalkit.cli.app import main

if __name__ == "__main__":
    main()
