#!/usr/bin/env bash
# Teachers, students, the earlier projects' networks and their figures, on a machine with a GPU that may be bare and
# on loan: one call, and the same call again where its minutes ran out.
#
#     training/gpu.sh DATA RESULTS MINUTES [PARALLEL] [PLAN]
#
# DATA     what --data takes, with FER+ votes (FER2013 as npz, say)
# RESULTS  a folder; gets the comparison, and the finished runs as tar parts of 15 MB (cat results.tar.* | tar x)
# MINUTES  after which no run goes on; what stands in runs/gpu is gone on with by the next call
#
# Needs python3 with JAX, OpenCV, tqdm and matplotlib. Keras is taken from wheels in .whl/ where it is not installed:
#     pip download --no-deps -d .whl keras namex optree
set -euo pipefail
cd "$(dirname "$0")/.."
data=$1 results=$2 minutes=$3 parallel=${4:-4} plan=${5:-training/plans/gpu.toml}

# Several runs share one GPU: none may take all of its memory at its start.
export KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false
if ! python3 -c 'import keras' 2>/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target /tmp/site .whl/*.whl
    export PYTHONPATH=/tmp/site
fi
mkdir -p "$results"
status=0
python3 -m training campaign "$plan" --out runs/gpu --minutes "$minutes" --parallel "$parallel" \
    --data "$data" --workers 3 || status=$?

finished=$(cd runs/gpu && for run in */finished; do [ -e "$run" ] && dirname "$run"; done || true)
cp runs/gpu/*.log "$results" 2>/dev/null || true
if [ -n "$finished" ]; then
    for run in $finished; do
        echo "runs/gpu/$run/model.keras"
        echo "runs/gpu/$run/recipe.json"
        echo "runs/gpu/$run/history.csv"
    done | tar c -T - | split -b 15m - "$results/results.tar."
    python3 -m training compare $(for run in $finished; do echo "runs/gpu/$run"; done) --data "$data" \
        --out "$results/compare"
fi
exit $status
