"""One flow a file: the order of the steps and nothing else."""
