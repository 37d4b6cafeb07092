"""The simulated world with a known gold reward."""
