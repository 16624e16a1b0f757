#!/bin/bash
# Creates a Cloud TPU VM, or a slice of several hosts.
#
#   create.sh [--spot] [--dry_run] [-h]
#
#   --spot      cheaper, and may be taken away; runs resume when started again
#   --dry_run   prints the commands instead of running them
#
# Variables:
#   TPU_NAME     name of the new TPU, e.g. curate
#   TPU_ZONE     e.g. us-west4-a
#   TPU_PROJECT  Google Cloud project
#   TPU_TYPE     accelerator type, e.g. v5litepod-16 (four hosts)
#   TPU_VERSION  runtime image [v2-alpha-tpuv5-lite]
source "$(dirname "$0")/common.sh"
parse "$@"
require TPU_NAME TPU_ZONE TPU_PROJECT TPU_TYPE

options=()
for arg in ${ARGS[@]+"${ARGS[@]}"}; do
  [[ "$arg" == --spot ]] || fail "unknown argument $arg"
  options+=(--spot)
done
tpu_vm create "$TPU_NAME" "--accelerator-type=$TPU_TYPE" \
  "--version=${TPU_VERSION:-v2-alpha-tpuv5-lite}" \
  ${options[@]+"${options[@]}"}
