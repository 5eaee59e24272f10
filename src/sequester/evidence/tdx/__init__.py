"""TDX quotes: what is in them, whether Intel stands behind them, and what a policy asks of them."""
