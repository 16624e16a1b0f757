#!/bin/bash
# Shows the log of a run on one host, and what is added to it.
#
#   follow.sh [--dry_run] [-h]
#
# Variables:
#   TPU_NAME, TPU_ZONE, TPU_PROJECT  as for create.sh
#   RUN     name of the run [jaxcurate]
#   WORKER  number of the host [0]
source "$(dirname "$0")/common.sh"
parse "$@"
require TPU_NAME TPU_ZONE TPU_PROJECT
((${#ARGS[@]} == 0)) || fail "unknown argument ${ARGS[0]}"

on_workers "${WORKER:-0}" "tail -n 100 -F ~/${RUN:-jaxcurate}.log"
