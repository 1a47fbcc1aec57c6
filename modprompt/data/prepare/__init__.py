"""Getting the data sets: download, verify, lay out, and check what is there.

    modprompt prepare EuroSAT DescribableTextures --root data
    modprompt prepare EuroSAT --root data --check

recipe.py      what a recipe consists of: files, archives, work by hand
recipes.py     where each data set comes from, and what the tree must hold
download.py    one file, resumed where it broke off
unpack.py      archives, none of whose members may land outside
layout.py      from a recipe to the tree; never over a user's file
check.py       what is missing, miscounted or unreadable in a tree
"""
