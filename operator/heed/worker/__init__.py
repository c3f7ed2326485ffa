"""The worker: the process that runs the code of one Agent. It connects out to the broker, and listens on nothing."""
