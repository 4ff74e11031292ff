enum CheckpointRoom {}
