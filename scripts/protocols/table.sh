# Run the base-to-new table of the paper: all methods with the seeds 1, 2 and 3 on the data sets in DATA, and a report.
# Finished runs are skipped. The arguments are those of `modprompt experiment run`, e.g. --methods CLIP MPL.
PYTHONPATH=$project${PYTHONPATH:+:$PYTHONPATH} exec "$PYTHON" -m experiments.run base2new --skip-missing-data --report \
  --data "$DATA" --out "$OUT" "$@"
