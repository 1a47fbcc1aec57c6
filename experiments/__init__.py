"""Fronts: `python -m experiments.run` and `python -m experiments.report` in a checkout."""

import sys
from pathlib import Path

# before the working directory, which may be a codebase with packages of these names
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
