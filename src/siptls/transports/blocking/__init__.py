"""The blocking transports, public as ``siptls.sync``."""
