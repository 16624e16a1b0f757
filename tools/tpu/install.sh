#!/bin/bash
# Installs this checkout, as last committed, on every host of a TPU.
#
#   install.sh [--dry_run] [-h]
#
# Copies the commit as one archive and installs it with the extra [tpu] into
# ~/jaxcurate/.venv. Run it again after a commit to update.
#
# Variables:
#   TPU_NAME, TPU_ZONE, TPU_PROJECT  as for create.sh
#   TPU_PYTHON  package and command of Python on the hosts [python3.11]
source "$(dirname "$0")/common.sh"
parse "$@"
require TPU_NAME TPU_ZONE TPU_PROJECT
((${#ARGS[@]} == 0)) || fail "unknown argument ${ARGS[0]}"

python="${TPU_PYTHON:-python3.11}"
archive="${TMPDIR:-/tmp}/jaxcurate.tar.gz"
root="$(cd "$(dirname "$0")/../.." && pwd)"
run git -C "$root" archive --format=tar.gz "--output=$archive" HEAD
tpu_vm scp "$archive" "$TPU_NAME:jaxcurate.tar.gz" --worker=all
on_workers all "set -e
sudo apt-get update -q
sudo apt-get install -qy $python $python-venv
mkdir -p ~/jaxcurate
tar -xzf ~/jaxcurate.tar.gz -C ~/jaxcurate
cd ~/jaxcurate
test -d .venv || $python -m venv .venv
.venv/bin/pip install -q '.[tpu]'
.venv/bin/python -c 'import jaxcurate; print(jaxcurate.__version__)'"
