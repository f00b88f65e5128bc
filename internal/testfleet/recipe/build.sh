#!/bin/sh
# Builds the agent: build.sh SOURCE TARGET.
set -e
mkdir -p "$2/bin" "$2/lib"
cp -R "$1/lib/." "$2/lib/"
cp "$1/agent.sh" "$2/bin/agent"
chmod 755 "$2/bin/agent"
cd "$2/lib"
find . -type f | sort | xargs sha256sum > "$2/files.sha256"
