"""Assembles one image in a worker of the pool."""


def run(image):
    from images.console import log

    log.info("assemble %s", image)
