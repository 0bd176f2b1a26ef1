"""What runs: the sweeper, and the house around the application (services, stack, stand-in)."""
