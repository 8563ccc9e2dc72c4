"""Before anything is computed."""

import os

# MKL sums in one order whatever the CPU: what another machine computed is compared to 1e-4.
os.environ.setdefault("MKL_CBWR", "AVX2")
