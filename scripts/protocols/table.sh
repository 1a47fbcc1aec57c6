# The base-to-new table of the paper, all methods, seeds 1 2 3, on the data sets that are under DATA, and its report.
# What is finished does not run again. Arguments are those of `modprompt experiment run`, e.g. --methods CLIP MPL.
PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -m experiments.run base2new --skip-missing-data --report \
  --data "$DATA" --out "$OUT" "$@"
