"""``python -m siptls``: see `siptls.cli`."""

from siptls.cli import main

main()
