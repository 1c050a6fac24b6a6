"""What drives the core: the executor, the queues to the models, the budget."""
