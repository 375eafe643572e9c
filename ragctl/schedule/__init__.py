"""Scheduled runs of a pipeline: the text for cron and systemd, and its installation.

A ScheduledJob says what to start, a Schedule when. `crontab` and `units` make text of the two, and
install or remove it for the user.
"""

from ragctl.schedule.job import ScheduledJob
from ragctl.schedule.when import Schedule, every, from_calendar, from_cron

__all__ = ["Schedule", "ScheduledJob", "every", "from_calendar", "from_cron"]
