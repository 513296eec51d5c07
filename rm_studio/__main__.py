"""``python -m rm_studio`` is the ``rm-studio`` command."""

from rm_studio.cli import main

if __name__ == "__main__":
    main()
