#!/usr/bin/env bash
# Makes an environment for each server in FOLDER, or for those named: bench/rivals/install.sh FOLDER [infinity ...]
# Infinity needs PyTorch (gigabytes of CUDA on Linux, unless pip is set up for the CPU builds). PYTHON=python3.11 names another Python.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:?usage: install.sh FOLDER [SERVER ...]}
shift
for server in "${@:-litserve infinity bentoml mlserver}"; do
  for name in $server; do
    "${PYTHON:-python3}" -m venv "$folder/$name"
    "$folder/$name/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/$name.txt"
  done
done
