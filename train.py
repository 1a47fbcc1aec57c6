"""Train and evaluate prompt-learning methods for CLIP: `python train.py --help`; see modprompt/cli/train.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # also where the program is started from elsewhere by a link

from modprompt.cli.train import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
