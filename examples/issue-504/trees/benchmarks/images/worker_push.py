"""Pushes one image in a worker of the pool."""


def run(image):
    from images.console import log

    log.info("push %s", image)
