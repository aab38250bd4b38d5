#!/bin/sh
# Runs uv with the given arguments: the one on PATH, else one of the project's own in .tools/uv.
# Uses the Pythons that are installed and downloads none.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
own="$root/.tools/uv"

say() {
    printf '%s\n' "$@" >&2
}

works() {
    "$1" --version >/dev/null 2>&1
}

bring_uv() {
    for python in python3 python3.14 python3.13 python3.12 python3.11 python; do
        if "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
            say "Bringing uv into .tools/uv (once)."
            "$python" -m venv --clear "$own"
            "$own/bin/pip" install --quiet --disable-pip-version-check 'uv>=0.8'
            return
        fi
    done
    say "uv is not installed, and no Python here can make a virtual environment to bring it." \
        "On Debian and Ubuntu: apt install python3-venv. Elsewhere: https://docs.astral.sh/uv/"
    return 1
}

uv=uv
works "$uv" || uv=$own/bin/uv
works "$uv" || bring_uv

UV_PYTHON_DOWNLOADS=${UV_PYTHON_DOWNLOADS:-never}
export UV_PYTHON_DOWNLOADS
exec "$uv" "$@"
