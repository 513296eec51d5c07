"""The local Argilla: its environment, its life, and the two modules that only its own interpreter runs."""
