"""Assembles one image in a worker of the pool."""

from images.console import log


def run(image):
    log.info("assemble %s", image)
