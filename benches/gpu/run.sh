#!/bin/sh
# ./run.sh check|train|generate|baseline [--device cpu] [--shape DIR] [--rows N] ...: see README.md beside this file.
cd "$(dirname "$0")" && exec "${PYTHON:-python3}" run.py "$@"
