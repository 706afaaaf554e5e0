#!/usr/bin/env bash
# Teachers, students and the earlier projects' networks, on a machine with a GPU that may be bare and on loan.
#
#     training/gpu.sh DATA RESULTS MINUTES [PARALLEL] [PLAN]     there: trains, ends with
#                                        0 all finished, 75 the same call goes on with the rest, 1 a run failed
#     training/gpu.sh home RESULTS [PLAN]                        here, after each call
#
# DATA      what --data takes, with FER+ votes (FER2013 as npz, say)
# RESULTS   an empty folder: gets what is new in runs/gpu, in at most five parts of 15 MiB
# MINUTES   that the call may take, its last one to stop and pack: 9 where 10 are allowed
# PARALLEL  runs at a time (4). Stopped ones that do not fit into RESULTS are told; one more call of MINUTES 1 to the
#           same machine brings them. Of this project's networks any two fit; shallow-cnn, deep-cnn and vgg16 (90 MB
#           and more while they are trained) never do: on a fresh machine they begin anew
#
# Python's packages there: JAX, OpenCV, tqdm. Keras comes, where it is not installed, from wheels for Python 3.12:
#     pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#         --platform manylinux_2_28_x86_64 -d runs/loan/whl keras namex optree
# Carried there: runs/loan/whl (3 MB), and DATA in runs/loan/data.
#
# Machine gone? `home` unpacks RESULTS into runs/gpu here, and packs what a fresh machine needs into
# runs/loan/state/runs.tar. That is carried too; where it is more than 64 MiB with data and wheels, in a call of its
# own: `true` with data and wheels first, and at once the next with runs/loan/state alone. RESULTS lost on their way:
# rm runs/gpu/*/taken there, and call again.
#
# At the end, here: emotion-train compare runs/gpu/*/ --data DATA --out REPORT. The runs' calibration.npz (12 MB each)
# stay there: quantize --data takes any npz of FER2013's images, labels and usage.
set -euo pipefail
cd "$(dirname "$0")/.."
state=runs/loan/state/runs.tar

files() { # to_take_home | to_carry: their paths
    python3 - "$1" "$plan" <<'PY'
import sys
from pathlib import Path

from edge.cli import ended
from training import campaign


def work():
    for path in getattr(campaign, sys.argv[1])(campaign.read_plan(Path(sys.argv[2])), Path("runs/gpu")):
        print(path)
    return 0


sys.exit(ended(work))
PY
}

if [ "${1:-}" = home ] && [ $# -ge 2 ]; then
    results=$2 plan=${3:-training/plans/gpu.toml}
    if ! compgen -G "$results/runs.tar.*" >/dev/null; then
        echo "$results: no runs.tar.aa; expected the folder that a call's files came back to" >&2
        exit 2
    fi
    cat "$results"/runs.tar.* | tar x -f -
    mkdir -p "$(dirname "$state")"
    files to_carry | tar c -f "$state" -T -
    echo "runs/gpu: $(ls runs/gpu/*/finished 2>/dev/null | wc -l) runs finished; $(du -h "$state")" >&2
    exit
fi
if [ $# -lt 3 ]; then
    echo "$0: found $# arguments; expected DATA RESULTS MINUTES [PARALLEL] [PLAN], or home RESULTS [PLAN]," >&2
    exit 2
fi
data=$1 results=$2 minutes=$3 parallel=${4:-4} plan=${5:-training/plans/gpu.toml}
mkdir -p "$results"
if compgen -G "$results/runs.tar.*" >/dev/null; then
    echo "$results: holds an earlier call's parts; expected an empty folder" >&2
    exit 2
fi

# Several runs share one GPU: none may take all of its memory at its start.
export KERAS_BACKEND=${KERAS_BACKEND:-jax} XLA_PYTHON_CLIENT_PREALLOCATE=false
export PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$PWD/runs/loan/site
if ! python3 -c 'import keras' 2>/dev/null; then
    if ! compgen -G 'runs/loan/whl/*.whl' >/dev/null; then
        echo 'keras: cannot be imported, and runs/loan/whl has no wheels; expected pip download, as in this file,' >&2
        exit 1
    fi
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target runs/loan/site \
        runs/loan/whl/*.whl
fi
# What a machine still has is newer than what was carried to it.
if [ ! -e runs/gpu ] && [ -e "$state" ]; then tar x -f "$state"; fi

status=0
left=$(python3 -c 'import sys; print(max(0, float(sys.argv[1]) - 1 - int(sys.argv[2]) / 60))' "$minutes" $SECONDS)
python3 -m training campaign "$plan" --out runs/gpu --minutes "$left" --parallel "$parallel" \
    --data "$data" --workers 3 || status=$?
if [ -e runs/gpu ]; then
    files to_take_home | tar c -f - -T - | split -b 15m - "$results/runs.tar."
fi
exit $status
