"""Predicting in batches."""
