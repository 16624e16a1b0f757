"""The engine that streams a corpus through scorers, resumably."""
