#!/bin/sh
# Brings FastMCP, an independent client that has the protocol's tasks, into .tools/fastmcp, for
# tests/test_other_task_client.py. It is an environment of its own: what it needs must not choose what we use.
set -eu

version=4.1.2

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder="$root/.tools/fastmcp"

if [ -f "$folder/version" ] && [ "$(cat "$folder/version")" = "$version" ]; then
    exit 0
fi

"$root/scripts/uv.sh" venv --quiet --clear "$folder"
"$root/scripts/uv.sh" pip install --quiet --python "$folder" "fastmcp==$version" "fastmcp-tasks==$version"
echo "$version" > "$folder/version"
