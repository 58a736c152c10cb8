"""What trials leave behind, in a folder or a bucket that all workers of a study reach."""
