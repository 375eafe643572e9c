"""Move collections: to another model (migrate), another store (copy), out of damage (rebuild)."""
