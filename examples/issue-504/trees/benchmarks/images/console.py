"""The log of a run, set up when it is imported."""

import logging

logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
log = logging.getLogger("images")
