"""Linear probe on CLIP features: the baseline of CoOp's paper (arXiv 2109.01134)."""
