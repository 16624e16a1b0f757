"""Tables to a Mixture of domains and quality; one file per method."""
