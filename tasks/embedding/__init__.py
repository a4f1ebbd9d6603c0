"""Turning documents into vectors."""
