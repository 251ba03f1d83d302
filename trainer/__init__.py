"""shard → batch → loss → checkpoint → evaluation."""
