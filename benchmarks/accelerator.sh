#!/usr/bin/env bash
# All that an accelerator can show, in about ten minutes: run it where there is one, from the root of the checkout.
#   benchmarks/accelerator.sh [--smallest] [OUTPUT]
# It needs the extras `offline` and `trl`; vLLM is timed too where its extra is there. The table goes to
# benchmarks/README.md by hand, with the name of the card. With --smallest it goes the same way on a CPU, with two members
# a head and toy models: that it runs is all that this shows.
set -euo pipefail
cd "$(dirname "$0")/.."
device=cuda members=25 batch=32 size=() study=()
if [ "${1:-}" = --smallest ]; then
    device=cpu members=2 batch=4 size=(smallest)
    study=(--set seeds=[0] --set datasets.0.first=24 --set rl.steps=2)
    shift
fi
out=${1:-$(mktemp -d)}
python - "$device" <<'PY'
import sys
import torch

if sys.argv[1] == "cpu":
    print("smallest: the CPU | torch", torch.__version__)
elif not torch.cuda.is_available():
    raise SystemExit("no accelerator: torch.cuda.is_available() is False; run this where there is one, or give --smallest")
else:
    print("card:", torch.cuda.get_device_name(0), "| torch", torch.__version__)
PY
echo "== heads, processor against card"
timeout 180 python benchmarks/device.py "$members" "${size[@]:+cpu}"
echo "== language models of random weights: hidden states, memory, halving, responses"
timeout 180 python benchmarks/causal_lm.py "$batch" "${size[@]}"
echo "== the study gpu-tiny"
time timeout 240 embrm study --config gpu-tiny -o "$out/study" --workers 1 --set device="$device" "${study[@]}"
echo "report: $out/study/report.html"
