"""Running a pipeline by the clock: the texts that cron and systemd read, and their installation.

The texts are made of a Job (what to start) and a When; `crontab` and `units` write them,
and install or remove them for the user.
"""

from ragctl.schedule.job import Job
from ragctl.schedule.when import When, every, of_calendar, of_cron

__all__ = ["Job", "When", "every", "of_calendar", "of_cron"]
