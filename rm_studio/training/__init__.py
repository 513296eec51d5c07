"""Training runs: started and watched from the app, done in a process of their own."""
