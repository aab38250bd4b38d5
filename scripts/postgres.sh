#!/bin/sh
# Brings the PostgreSQL that the tests of the journal start for themselves (tests/postgres.py).
# One that is there is used; one is installed only in continuous integration, as root, with apt.
set -eu

if command -v initdb >/dev/null || [ -n "$(find /usr/lib/postgresql -name initdb 2>/dev/null)" ]; then
    exit 0
fi
if [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ]; then
    # The tests start servers of their own: Debian's need not make one.
    mkdir -p /etc/postgresql-common
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold postgresql
else
    echo "There is no PostgreSQL here; install one (Debian: apt install postgresql) for the journal's tests." >&2
fi
