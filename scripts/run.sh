#!/usr/bin/env bash
# Every script of a method is a link to this file. The folder of the link selects the method (methods.sh), and the name of
# the link selects the protocol (protocols/). Names from other repositories that end in the short name of the method also
# work, e.g. base2new_train_maple.sh.
set -euo pipefail
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) # as it was called, not where the link leads
scripts=$(dirname "$folder")
name=$(basename "${BASH_SOURCE[0]}" .sh)
protocol=$name
for short in maple_xd maple ivlp lp vpt hicropl; do # reproduce_maple_xd.sh is reproduce_xd
  case $protocol in *_"$short") protocol=${protocol%_"$short"}${short#"${short%_xd}"} ;; esac
done
if [[ $name = reproduce ]]; then protocol=table; fi # reproduce_maple and the like test published checkpoints
case $protocol in
  reproduce_base2novel_setting) protocol=reproduce ;;
  dev_train) protocol=few_shot_epochs ;;
  dev_test) protocol=few_shot_test ;;
esac
case $(basename "$folder")/$name in
  mmrl/* | mmrlpp/*) protocol=mmrl ;;
  promptkd/*) protocol=promptkd ;;
  alvlm/main) protocol=alvlm ;; # not CoOp's, which has other arguments
  clip_lora/main) protocol=clip_lora ;;
  taskres/main) protocol=taskres ;;
  adapter/eval) protocol=adapt_eval ;;
  prograd/prograd) protocol=main ;;
  prograd/eval) SHOTS=${SHOTS:-4} ;;
  prograd/base2new_*_prograd) protocol=base2new_seeds ;;
esac
SCRIPT=scripts/$(basename "$folder")/$name.sh
if [[ ! -f $scripts/protocols/$protocol.sh ]]; then
  echo "error: $SCRIPT needs the file scripts/protocols/$protocol.sh, which does not exist. Restore the file." >&2
  exit 2
fi
source "$scripts/methods.sh"
method "$(basename "$folder")" "$protocol" "${1-}"
source "$scripts/common.sh"
source "$scripts/protocols/$protocol.sh"
