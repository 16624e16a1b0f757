#!/bin/bash
# Starts one jaxcurate command on every host of a TPU, in the background.
#
#   launch.sh [--dry_run] [-h] -- COMMAND FLAGS...
#
#   launch.sh -- score --method=ask_llm --model=hf:google/flan-t5-xl \
#     --input='gs://bucket/docs/*.jsonl.gz' --output=gs://bucket/scores
#
# Inputs and outputs must lie where all hosts see them, such as gs://. The log
# of each host is ~/RUN.log. The same command again resumes the run.
#
# Variables:
#   TPU_NAME, TPU_ZONE, TPU_PROJECT  as for create.sh
#   RUN  name of the run and of its log [jaxcurate]
source "$(dirname "$0")/common.sh"
parse "$@"
require TPU_NAME TPU_ZONE TPU_PROJECT
[[ "${ARGS[0]:-}" == -- ]] || fail 'write -- before the jaxcurate command'
((${#ARGS[@]} > 1)) || fail 'there is no jaxcurate command after --'

run_name="${RUN:-jaxcurate}"
command="$(printf '%q ' "${ARGS[@]:1}")"
on_workers all "nohup setsid ~/jaxcurate/.venv/bin/jaxcurate $command\
> ~/$run_name.log 2>&1 < /dev/null &"
