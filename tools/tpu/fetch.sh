#!/bin/bash
# Copies results to this machine.
#
#   fetch.sh [--dry_run] [-h] SOURCE DESTINATION
#
#   SOURCE       gs://bucket/folder, or a path on one host of the TPU
#   DESTINATION  folder here; what it already has of a gs:// folder stays
#
# Variables:
#   TPU_NAME, TPU_ZONE, TPU_PROJECT  as for create.sh, for paths on a host
#   WORKER  number of the host [0]
source "$(dirname "$0")/common.sh"
parse "$@"
((${#ARGS[@]} == 2)) || fail "got ${#ARGS[@]} arguments, need two"
from="${ARGS[0]}" to="${ARGS[1]}"

run mkdir -p "$to"
if [[ "$from" == gs://* ]]; then
  run gcloud storage rsync --recursive "$from" "$to"
else
  require TPU_NAME TPU_ZONE TPU_PROJECT
  tpu_vm scp --recurse "$TPU_NAME:$from" "$to" "--worker=${WORKER:-0}"
fi
