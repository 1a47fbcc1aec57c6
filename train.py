"""Train and evaluate prompt-learning methods for CLIP: `python train.py --help`; see modprompt/cli/train.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # needed if a link elsewhere starts the program

from modprompt.cli.train import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
