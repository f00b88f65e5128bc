"""The agent server."""

VERSION = "1.0"
