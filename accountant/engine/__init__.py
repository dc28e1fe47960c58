"""The engines: one composed loss in, certified epsilons and deltas out (docs/engine.md)."""
