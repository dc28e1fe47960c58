"""Plans of differentially private training runs, and the mechanisms they are made of."""
