"""Getting the data sets: recipes.py says where each comes from, layout.py makes and checks its tree."""
