"""Tables for the terminal, made with rich: `plans` of signals and comparisons, `counts` of data and forecasts."""
