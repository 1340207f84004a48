"""Code as tokens: split into words, operators and marks of layout, and joined again without loss."""
