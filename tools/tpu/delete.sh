#!/bin/bash
# Deletes a TPU with all that lies on its hosts. Fetch your results first.
#
#   delete.sh [--dry_run] [-h]
#
# Variables:
#   TPU_NAME, TPU_ZONE, TPU_PROJECT  as for create.sh
source "$(dirname "$0")/common.sh"
parse "$@"
require TPU_NAME TPU_ZONE TPU_PROJECT
((${#ARGS[@]} == 0)) || fail "unknown argument ${ARGS[0]}"

tpu_vm delete "$TPU_NAME" --quiet
