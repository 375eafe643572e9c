"""Tell another program how a run ended."""
