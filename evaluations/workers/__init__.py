"""Trainings in processes of their own: one that crashes or runs out of memory takes no other with it."""

from evaluations.workers.messages import Order, Report
from evaluations.workers.processes import Job, default_processes, run_jobs

__all__ = ["Job", "Order", "Report", "default_processes", "run_jobs"]
