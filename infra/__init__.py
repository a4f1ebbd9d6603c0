"""What the flows stand on: the pure core, its ports, the adapters and the services."""
