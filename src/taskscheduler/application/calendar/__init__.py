"""When a schedule fires: cron expressions, intervals, wall clocks and time zones."""
