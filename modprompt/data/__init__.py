"""Data set readers of the CoOp family; importing one registers it. A reader is a page of facts.

splits.py      split files, and splits made where there is none
fewshot.py     few-shot sampling and its cache
subsample.py   base and new classes
reader.py      the order of these steps, which decides the random-number stream
"""
