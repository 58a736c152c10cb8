"""Studies beside each other: what one buys over another, on the same events."""
