"""What flows are made of: Prefect shells around plain functions."""
