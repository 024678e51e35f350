"""Wake-ups over Amazon SQS; needs the extra ``sqs``."""

from taskscheduler.adapters.sqs.wakeups import SqsWakeUps

__all__ = ["SqsWakeUps"]
