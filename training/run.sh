#!/usr/bin/env bash
# Rebuild pairsift-tiny from data and packages:  training/run.sh DATA WORK
# DATA holds flickr8k/ and web_alt_text_only/ (training/README.md); WORK takes some 14 GB.
# Photographs of public repositories are fetched with git.
# Killed and started again, it goes on with the step that was not finished.
set -euo pipefail
data=$1 work=$2
here=$(cd "$(dirname "$0")" && pwd)
weights=$work/weights cache=$work/cache run=$work/run asset=$here/../src/pairsift/assets/pairsift-tiny
source "$here/env.sh"
mkdir -p "$cache" "$work/done"

step() { # NAME COMMAND...
  if [ ! -e "$work/done/$1" ]; then
    echo "== $1, $(date +%H:%M:%S)"
    "${@:2}"
    touch "$work/done/$1"
  fi
}

step weights "$here/download_weights.sh" "$weights"
step tokenizer python "$here/tokenizer.py" --weights "$weights" --cache "$cache"
step features python "$here/features.py" --data "$data" --weights "$weights" --out "$cache"
step candidates python "$here/candidates.py" --data "$data" --weights "$weights" --cache "$cache"
step priors python "$here/priors.py" --data "$data" --weights "$weights" --cache "$cache"
step meaning python "$here/meaning.py" --data "$data" --weights "$weights" --cache "$cache" \
  --out "$cache/meaning.safetensors" --json "$here/meaning.json"
step train python "$here/train.py" --data "$data" --weights "$weights" --cache "$cache" --out "$run" \
  --layers 5 --steps 1000
step trust python "$here/trust.py" --model "$run/model" --cache "$cache" --out "$run/trusted"
step half python "$here/meaning.py" --data "$data" --weights "$weights" --cache "$cache" --half \
  --steps 200 --out "$cache/foretold.npz"
step judge python "$here/judge.py" --data "$data" --weights "$weights" --cache "$cache" \
  --model "$run/trusted" --out "$run/final" --json "$here/judge.json"
step evaluate python "$here/evaluate_dev.py" --model "$run/final" --cache "$cache" --images 500 \
  --json "$here/results_dev.json"
cp "$cache"/*tokenizer.json "$run/final"
step photographs python "$here/photographs.py" --repositories "$work/repositories" \
  --out "$work/photographs.tar"
step pictures python "$here/pictures.py" --data "$data" --photographs "$work/photographs.tar" \
  --weights "$weights" --cache "$work/pictures"
step tower python "$here/tower.py" --weights "$weights" --cache "$work/pictures" \
  --start "$run/final" --out "$run" --steps 2600
step novelty python "$here/novelty.py" --weights "$weights" --cache "$work/pictures" \
  --out "$work/pictures/novelty.npz" --json "$here/novelty.json"
step combine python "$here/combine.py" --weights "$weights" --pictures "$work/pictures" \
  --start "$run/final" --tower "$run/tower.pt" --out "$run/combined"
step export python "$here/export.py" --model "$run/combined" --cache "$cache" \
  --pictures "$work/pictures" --out "$asset" --json "$here/export.json"
step dev python "$here/dev.py" --cache "$work/pictures" --model "$asset" --json "$here/dev.json"
