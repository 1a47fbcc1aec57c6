"""Data set readers of the CoOp family; importing one registers it. A reader is facts.

splits.py      split files, splits made where there is none, base and new classes
fewshot.py     few-shot sampling and its cache
reader.py      the order of these steps, which decides the random-number stream
"""
