"""``make demo``: the whole story on one machine, through the deployments, measured as it happens."""
