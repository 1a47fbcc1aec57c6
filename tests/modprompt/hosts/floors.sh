#!/usr/bin/env bash
# The stand-in tests, and those of building a CLIP, in environments of their own: the oldest Python and PyTorch that go into hosts, and the newest served.
#
#   bash tests/modprompt/hosts/floors.sh [FOLDER]    environments are made and kept in FOLDER (default: a temporary one)
#
# PYTHON38, PYTHON_NEW: the interpreters (default: python3.8, python3.13 or python3.12). One that is missing is said.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
folder=${1:-$(mktemp -d)}
others="pytest pytest-timeout hypothesis yacs scikit-learn scipy tqdm Pillow clip-anytorch packaging PyYAML matplotlib gdown"
tests="tests/modprompt/hosts tests/modprompt/clip/test_build.py tests/modprompt/clip/test_reading.py"
tests="$tests tests/modprompt/trainers/test_overrides.py tests/modprompt/trainers/test_mistakes.py tests/modprompt/hosts/test_foreign.py"
failed=0

floor() { # floor NAME INTERPRETER PACKAGES...
  local name=$1 interpreter=$2 python=$folder/$1/bin/python
  shift 2
  if ! command -v "$interpreter" >/dev/null; then
    echo "NOT RUN: $name: there is no $interpreter" >&2
    failed=1
    return
  fi
  if [[ ! -f $folder/$name/.ready ]]; then
    "$interpreter" -m venv "$folder/$name"
    "$python" -m pip install --quiet --upgrade pip
    # shellcheck disable=SC2086
    "$python" -m pip install --quiet "$@" $others
    touch "$folder/$name/.ready"
  fi
  echo "== $name"
  # old versions of libraries warn of each other: warnings are no errors here; old ones of pytest exchange hooks in each test
  # shellcheck disable=SC2086
  "$python" -m pytest -q -W ignore -p no:threadexception -p no:unraisableexception $tests || failed=1
}

floor oldest "${PYTHON38:-python3.8}" torch==1.9.0 torchvision==0.10.0 "numpy<1.24"
newest=${PYTHON_NEW:-$(command -v python3.13 || command -v python3.12 || echo python3.13)}
floor newest "$newest" torch torchvision numpy tensorboard # which the process imports that programs are forked from
exit $failed
