#!/bin/bash
# 200 shards on PBS Pro or OpenPBS; submit with: qsub -v INPUT=...,OUT=... pbs-array.sh. Submitting it again does what is left.
# Written after the manual of PBS; not run on a real PBS yet.
#PBS -N peaks
#PBS -J 0-199
#PBS -l select=1:ncpus=2:mem=1gb
#PBS -l walltime=00:20:00
#PBS -r y
set -u

RUNNER=${RUNNER:-/opt/farfield/bin/farfield-runner}
MODEL=${MODEL:-/opt/farfield/models/braggnn}
cd "${PBS_O_WORKDIR:-.}" || exit 1

# exec: the TERM that PBS sends before the end of the walltime reaches the runner itself.
exec "$RUNNER" batch \
  --model "$MODEL" \
  --input "${INPUT:?set INPUT=scan.h5:/patches}" \
  --out "${OUT:?set OUT=a folder that all nodes see}" \
  --shard auto/200 --threads 2 --json

# When all are done:
#   farfield-runner merge "$OUT" --out scan.pred.h5
