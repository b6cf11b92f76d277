#!/bin/bash
# 200 shards on Slurm; submit with: sbatch slurm-array.sh. Submitting it again does what is left, and nothing twice.
#SBATCH --job-name=peaks
#SBATCH --array=0-199%50
#SBATCH --cpus-per-task=2
#SBATCH --mem=1G
#SBATCH --time=00:20:00
# A warning a minute before the end: the runner stops, and its shard is as it was.
#SBATCH --signal=B:TERM@60
#SBATCH --requeue
set -u

RUNNER=${RUNNER:-/opt/farfield/bin/farfield-runner}
MODEL=${MODEL:-/opt/farfield/models/braggnn}

"$RUNNER" batch \
  --model "$MODEL" \
  --input "${INPUT:?set INPUT=scan.h5:/patches}" \
  --out "${OUT:?set OUT=a folder that all nodes see}" \
  --shard auto/200 --threads "${SLURM_CPUS_PER_TASK:-2}" --json &
# A signal reaches this shell and not what it waits for, unless it is passed on.
trap 'kill -TERM $!' TERM
wait $!
code=$?
# Interrupted by the trap: the runner is still ending.
if [ "$code" -gt 128 ]; then wait $!; code=$?; fi

case $code in
  0) ;;
  8) code=0 ;;                                            # another runner has this shard
  # Stopped (143: before it could say so): again, later. Not for ever: a walltime too short for one shard stops it each time.
  # Not 9: an output that cannot be written stays so until somebody mends it; submit again then.
  10 | 143)
    if [ "${SLURM_RESTART_COUNT:-0}" -lt 5 ]; then
      scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    else
      echo "shard ${SLURM_ARRAY_TASK_ID} was stopped 6 times: give it more --time, or cut more shards" >&2
    fi
    ;;
  *) echo "shard ${SLURM_ARRAY_TASK_ID} ended with $code; see docs/runner.md" >&2 ;;
esac
exit "$code"

# When all are done:
#   farfield-runner merge "$OUT" --out scan.pred.h5
