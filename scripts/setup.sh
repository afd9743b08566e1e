#!/usr/bin/env bash
# Make .venv, ready to run: find or install uv, find or fetch the Python of .python-version, install under constraints.txt.
# Needs git, make and some python3. Everything it makes stands in .tools/ and .venv/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

# A python3 that starts outside the version this folder asks for (a pyenv shim may have no such version).
some_python() {
    local name
    for name in python3 python3.14 python3.13 python3.12 python3.11 python3.10 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
    done
    PYENV_VERSION=system python3 -c 'import sys; print(sys.executable)' 2>/dev/null || return 1
}

find_uv() {
    if command -v uv >/dev/null 2>&1; then
        command -v uv
        return
    fi
    local found
    for found in .tools/bin/uv .tools/uv/bin/uv; do
        if "$found" --version >/dev/null 2>&1; then
            echo "$PWD/$found"
            return
        fi
    done
    return 1
}

# Two ways, because Debian's python3 may lack ensurepip (no venv) or pip (no --target).
install_uv() {
    local python
    python=$(some_python) || { say "no python3 was found; install one, or uv"; return 1; }
    say "installing uv into .tools with $python"
    rm -rf .tools
    mkdir -p .tools
    if "$python" -m venv .tools/uv >.tools/venv.log 2>&1; then
        .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check uv >&2
    elif "$python" -m pip --version >/dev/null 2>&1; then
        "$python" -m pip install --quiet --disable-pip-version-check --target .tools uv >&2
    else
        say "$python has neither venv (ensurepip) nor pip, so uv cannot be installed with it:"
        sed 's/^/setup:   /' .tools/venv.log >&2
        say "install one of uv, pip or python3-venv, and call make again"
        return 1
    fi
}

UV=$(find_uv) || { install_uv && UV=$(find_uv); } || { say "no uv"; exit 1; }

wanted=$(tr -d '[:space:]' <.python-version)
in_range() { .venv/bin/python -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))' 2>/dev/null; }

if ! in_range; then
    if ! "$UV" venv --quiet --clear --python "$wanted" .venv; then
        say "Python $wanted cannot be had; any from 3.12 to 3.14 will do"
        "$UV" venv --quiet --clear --python '>=3.12,<3.15' .venv
    fi
fi
say "installing into .venv ($(.venv/bin/python --version))"
install() {
    # compiled now, once: a first import that parses PyMC, pandas and numba takes four times as long
    "$UV" pip install --quiet --compile-bytecode --python .venv/bin/python --constraints constraints.txt --editable '.[dev]'
}
if ! install; then
    # uv trusts its own list of certificates; behind a proxy the system's list is the right one.
    say "trying once more with the system's certificates"
    export UV_SYSTEM_CERTS=true UV_NATIVE_TLS=true
    install
fi
