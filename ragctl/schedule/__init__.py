"""Running a pipeline by the clock: the texts that cron and systemd read, and their installation.

The texts are made of a ScheduledJob (what to start) and a When; `crontab` and `units` write them,
and install or remove them for the user.
"""

from ragctl.schedule.job import ScheduledJob
from ragctl.schedule.when import When, every, of_calendar, of_cron

__all__ = ["ScheduledJob", "When", "every", "of_calendar", "of_cron"]
