"""Data contracts: one folder per dataset, and the code that reads, checks and enforces them."""
