"""``python -m dccc_lightning``."""

from dccc_lightning.cli import main

if __name__ == "__main__":
    main()
