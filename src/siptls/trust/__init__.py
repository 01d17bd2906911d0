"""Whom do we believe? Pure rules: no sockets, no clock, no I/O while a peer is judged."""

import warnings

# Of each name in a certificate that is longer than X.520 has it, cryptography warns whoever reads
# it. A stranger would write hundreds of lines on our standard error by one handshake.
warnings.filterwarnings("ignore", "Attribute's length must be ", UserWarning, module=r"siptls\.")
