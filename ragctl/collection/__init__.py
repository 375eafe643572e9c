"""What a collection is: payloads, point ids, settings, marks and state."""
