"""Training a digit classifier."""
