"""What the codec costs, against named peers in the same run."""
