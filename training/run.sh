#!/usr/bin/env bash
# Rebuild pairsift-tiny from data and packages:  training/run.sh DATA WORK
# DATA holds flickr8k/ and web_alt_text_only/ (training/README.md); WORK takes some 3 GB.
set -euo pipefail
data=$1 work=$2
here=$(cd "$(dirname "$0")" && pwd)
weights=$work/weights cache=$work/cache run=$work/run asset=$here/../src/pairsift/assets/pairsift-tiny
source "$here/env.sh"
mkdir -p "$cache"

"$here/download_weights.sh" "$weights"
python "$here/tokenizer.py" --weights "$weights" --cache "$cache"
python "$here/features.py" --data "$data" --weights "$weights" --out "$cache"
python "$here/candidates.py" --data "$data" --weights "$weights" --cache "$cache"
python "$here/priors.py" --data "$data" --weights "$weights" --cache "$cache"
python "$here/meaning.py" --data "$data" --weights "$weights" --cache "$cache" \
  --out "$cache/meaning.safetensors" --json "$here/meaning.json"
python "$here/train.py" --data "$data" --weights "$weights" --cache "$cache" --out "$run" --layers 5 --steps 1100
python "$here/trust.py" --model "$run/model" --cache "$cache" --out "$run/final"
python "$here/export.py" --model "$run/final" --cache "$cache" --out "$asset" \
  --json "$here/export.json"
python "$here/evaluate_dev.py" --model "$asset" --cache "$cache" --images 500 \
  --json "$here/results_dev.json"
