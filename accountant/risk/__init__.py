"""What a loss means to an attacker: risks, Gaussian DP, limits of private training."""
