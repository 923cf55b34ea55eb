"""Model x architecture x weight format x KV format: what compiles, inside which limits, and how fast it could be at best."""
