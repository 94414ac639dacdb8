"""Data sets as plain uint8 arrays: readers of the official files, drawn sets, downloads, batches."""
