"""What is the matter with how an application is measured, and the remedy."""
