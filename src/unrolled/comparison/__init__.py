"""Fair comparisons of variants of a recipe: equal parameters, several seeds, quality and cost."""
