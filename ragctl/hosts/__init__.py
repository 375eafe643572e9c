"""Requests to hosts: HTTP, keys, retry, rate limits, usage and error messages."""
