"""``python -m valuecast``."""

from valuecast.cli.main import main

main()
