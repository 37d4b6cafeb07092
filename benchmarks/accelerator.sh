#!/usr/bin/env bash
# All that an accelerator can show, in about ten minutes: run it where there is one, from the root of the checkout.
#   benchmarks/accelerator.sh [OUTPUT]
# It needs the extras `offline` and `trl`. The table goes to benchmarks/README.md by hand, with the name of the card.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-$(mktemp -d)}
python - <<'PY'
import torch

if not torch.cuda.is_available():
    raise SystemExit("no accelerator: torch.cuda.is_available() is False; run this where there is one")
print("card:", torch.cuda.get_device_name(0), "| torch", torch.__version__)
PY
echo "== heads and embedders, processor against card"
timeout 180 python benchmarks/device.py
echo "== language models: generation, hidden states, gold"
timeout 180 python benchmarks/causal_lm.py
echo "== the study gpu-tiny"
time timeout 240 embrm study --config gpu-tiny -o "$out/study" --workers 1 --set device=cuda
echo "report: $out/study/report.html"
