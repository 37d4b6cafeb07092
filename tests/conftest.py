"""One thread for every test: the matrices are small, and on a busy machine threads that wait for each other spin."""

import os

# Before torch or a BLAS is loaded; subprocesses inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
# What tests hold results to must not depend on the processor; tests/unit/test_training_precision.py turns it back.
os.environ.setdefault("EMBRM_TRAINING_PRECISION", "float32")
