"""Active prompt learning: rounds that choose which images are labelled, around any trainer."""
