# Sourced by the scripts of this folder: flags, required variables, dry runs.
# shellcheck shell=bash

set -euo pipefail

DRY_RUN=0
ARGS=()

# Prints the comment at the head of the calling script.
usage() {
  awk 'NR > 1 && !/^#/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"
}

# Ends with one line on stderr, as a mistake on the command line.
fail() {
  echo "$(basename "$0"): $* (see $0 -h)" >&2
  exit 2
}

# Takes -h and --dry_run off the arguments and leaves the others in ARGS; all
# that follows -- belongs to the program.
parse() {
  while (($#)); do
    case "$1" in
      -h | --help) usage; exit 0 ;;
      --dry_run) DRY_RUN=1 ;;
      --) ARGS+=("$@"); return ;;
      *) ARGS+=("$1") ;;
    esac
    shift
  done
}

# Ends unless every named variable has a value.
require() {
  local name
  for name in "$@"; do
    if [[ -z "${!name:-}" ]]; then
      fail "$name is not set; export $name=..."
    fi
  done
}

# Prints one word as a shell would have to be given it.
quote() {
  if [[ "$1" =~ ^[A-Za-z0-9_./:=@%+,~-]+$ ]]; then
    printf '%s' "$1"
  else
    printf "'%s'" "${1//\'/\'\\\'\'}"
  fi
}

# Runs a command, or prints it quoted for the shell.
run() {
  if ((DRY_RUN)); then
    local word line=''
    for word in "$@"; do line+=" $(quote "$word")"; done
    echo "${line# }"
  else
    command -v "$1" >/dev/null || fail "$1 is not installed"
    "$@"
  fi
}

# tpu_vm VERB ARGUMENTS...: gcloud on this machine's zone and project.
tpu_vm() {
  run gcloud compute tpus tpu-vm "$@" \
    "--zone=$TPU_ZONE" "--project=$TPU_PROJECT"
}

# on_workers WORKERS COMMAND: runs a shell command on 'all' or one worker.
on_workers() {
  tpu_vm ssh "$TPU_NAME" "--worker=$1" "--command=$2"
}
