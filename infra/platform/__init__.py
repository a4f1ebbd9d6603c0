"""The embedded platform: one machine's Prefect server, pools, workers and controller under one supervisor."""
