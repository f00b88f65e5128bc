#!/bin/sh
# Stands for the agent: says which build it is.
exec sha256sum "${AGENT_HOME:-/agent}/files.sha256"
