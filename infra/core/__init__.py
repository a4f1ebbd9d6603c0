"""Pure decisions: no Prefect, Dask, torch, SQL or pydantic, and no clock or randomness of its own."""
