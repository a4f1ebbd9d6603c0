"""The ``headrace`` command, one module per group of subcommands, each with ``register(app)``."""
